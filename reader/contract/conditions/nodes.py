"""Nodes of a parsed condition, which evaluate themselves on columns of a table.

The truth of a node is an Arrow array of booleans, in which null is unknown.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

# Arrow's arrays and types have no types of their own for mypy.
Array = Any
Columns = Mapping[str, Array]


# Arrow's names of floats are others than NumPy's.
_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


class Column(NamedTuple):
    """A column's name, and its place in the text."""

    name: str
    at: int


class Constant(NamedTuple):
    """A constant.

    Attributes:
        value: Text, or a number as it was written.
        source: Its source text.
        at: Its place in the text.
    """

    value: str | Decimal
    source: str
    at: int


class Comparison(NamedTuple):
    """A comparison of a column with constants.

    Attributes:
        column: The column.
        operator: `<`, `<=`, `>`, `>=`, `in`, `like` or `null`.
        constants: Any number of constants for `in`, none for `null`, otherwise one.
    """

    column: Column
    operator: str
    constants: tuple[Constant, ...]

    def truth(self, columns: Columns) -> Array:
        """Returns for which rows the comparison is true."""
        from pyarrow import compute

        values = columns[self.column.name]
        if self.operator == "null":
            return compute.is_null(values)
        if self.operator == "in":
            return _is_in(values, [constant.value for constant in self.constants])
        (constant,) = self.constants
        if isinstance(constant.value, Decimal):
            return _compared_with_number(values, self.operator, constant.value)
        if self.operator == "like":
            return compute.match_substring_regex(values, _regex(constant.value))
        return _compared(values, self.operator, constant.value)


class Not(NamedTuple):
    """A negation."""

    condition: "Condition"

    def truth(self, columns: Columns) -> Array:
        """Returns for which rows the condition is false."""
        from pyarrow import compute

        return compute.invert(self.condition.truth(columns))


class AllOf(NamedTuple):
    """Conditions joined by `and`."""

    conditions: "tuple[Condition, ...]"

    def truth(self, columns: Columns) -> Array:
        """Returns for which rows all conditions are true."""
        from pyarrow import compute

        truths = (condition.truth(columns) for condition in self.conditions)
        return functools.reduce(compute.and_kleene, truths)


class AnyOf(NamedTuple):
    """Conditions joined by `or`."""

    conditions: "tuple[Condition, ...]"

    def truth(self, columns: Columns) -> Array:
        """Returns for which rows a condition is true."""
        from pyarrow import compute

        truths = (condition.truth(columns) for condition in self.conditions)
        return functools.reduce(compute.or_kleene, truths)


Condition = Comparison | Not | AllOf | AnyOf


def comparisons_of(condition: Condition) -> Iterator[Comparison]:
    """Yields the comparisons of a condition, in the order of the text."""
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, Not):
        yield from comparisons_of(condition.condition)
    else:
        for part in condition.conditions:
            yield from comparisons_of(part)


def values_of(column: Array) -> Array:
    """Returns the values of a column without its dictionary, and null for NaN."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)
    return column


def _compared(values: Array, operator: str, constant: object) -> Array:
    from pyarrow import compute, scalar

    functions = {
        "<": compute.less,
        "<=": compute.less_equal,
        ">": compute.greater,
        ">=": compute.greater_equal,
    }
    return functions[operator](values, scalar(constant, values.type))


def _compared_with_number(values: Array, operator: str, number: Decimal) -> Array:
    nearest, side = _converted(number, values.type)
    if side > 0:
        operator = {"<": "<=", ">=": ">"}.get(operator, operator)
    if side < 0:
        operator = {"<=": "<", ">": ">="}.get(operator, operator)
    return _compared(values, operator, nearest)


def _is_in(values: Array, constants: list[str | Decimal]) -> Array:
    from pyarrow import array, compute, types

    known: list[object] = []
    for constant in constants:
        if isinstance(constant, str):
            known.append(constant)
            continue
        nearest, side = _converted(constant, values.type)
        if side == 0:
            known.append(nearest)
    if types.is_floating(values.type) and 0 in known:
        known += [0.0, -0.0]  # To `is_in`, these differ.
    found = compute.is_in(values, value_set=array(known, values.type))
    return compute.if_else(compute.is_null(values), None, found)


def _converted(number: Decimal, arrow_type: Array) -> tuple[int | float, int]:
    """Converts a number to a type of integers or floats.

    Returns:
        A value of the type, and 0 if it stands for the number. If the type has no such
        value: 1 if the number is above the value returned and below the next, or -1 if
        it is below the smallest value.
    """
    import numpy as np  # Not before it is needed: `--help` loads this module.

    # Arrow's own conversion of types needs pandas.
    name = str(arrow_type)
    dtype = np.dtype(_FLOATS.get(name, name))
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            rounded = float(dtype.type(float(number)))
        limit = float(np.finfo(dtype).max)
        if abs(rounded) <= limit:
            return rounded, 0
        return math.copysign(limit, rounded), 1 if rounded > 0 else -1
    limits = np.iinfo(dtype)
    if number < limits.min:
        return int(limits.min), -1
    if number > limits.max:
        return int(limits.max), 1
    below = math.floor(number)
    return below, int(below != number)


def _regex(pattern: str) -> str:
    """Returns the regular expression of a pattern of `like`, for RE2."""
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return rf"(?s)\A{regex}\z"
