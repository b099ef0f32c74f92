"""The language of conditions on the columns of `samples/` tables. START HERE.

    width >= 512 and not source like 'park/*'
    extra/clip_score > 0.3 or extra/clip_score is null
    split in ('train', 'validation') and "extra/my column" between 1 and 5

Grammar, with keywords in any case:

    condition   all ("or" all)*
    all         negation ("and" negation)*
    negation    "not" negation | "(" condition ")" | comparison
    comparison  column ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") constant
                constant, one of these operators, column
                column ["not"] "in" "(" constant ("," constant)* ")"
                column ["not"] "like" 'pattern'
                column ["not"] "between" constant "and" constant
                column "is" ["not"] "null"

Names of columns start with a letter or `_`, followed by letters, digits, `_`, `/`, `.`
and `-`; other names are in double quotes. Text is in single quotes. A quote within
quotes is doubled. In a pattern, `*` is any text, `?` is any character, and everything
else is itself; a pattern matches the whole value.

Logic has three values, as in SQL. A comparison with a missing value is unknown, and so
is its negation; records are kept for which the whole condition is true. NaN is a
missing value.

A constant is converted to the type of its column: for a float32 column, 0.3 is
float32(0.3). Constants that the type cannot hold (1.5 or 1e30 for an int32 column) are
compared exactly. Text is compared by code points, and only with text.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from reader.contract.checks import did_you_mean
from reader.contract.conditions.nodes import (
    AllOf,
    Comparison,
    Condition,
    comparisons_of,
    values_of,
)
from reader.contract.conditions.parser import Parser
from reader.contract.conditions.tokens import located, shortened
from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.samples import ColumnType
from reader.contract.schema import EXTRA

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

# Name of the column with the split of a record. Tables lack it: callers add it.
SPLIT = "split"

# What a column holds, by the Arrow type of its values.
_KINDS = {
    "string": "text",
    "large_string": "text",
    "int32": "numbers",
    "int64": "numbers",
    "float": "numbers",
    "double": "numbers",
}
# A message lists at most so many columns.
_MOST_LISTED = 30


@dataclasses.dataclass(frozen=True)
class Where:
    """A condition that selects records; equal to another one of the same text.

    Attributes:
        text: Text of the condition.
        columns: Names of the columns that it reads, in the order of the text.
    """

    text: str
    columns: tuple[str, ...] = dataclasses.field(compare=False)
    _condition: Condition = dataclasses.field(compare=False, repr=False)
    _comparisons: tuple[Comparison, ...] = dataclasses.field(compare=False, repr=False)

    def only_with(self, columns: Collection[str]) -> "Where | None":
        """Returns what some columns alone decide; None if nothing can.

        Where that is not true, the whole condition is not: it is made of those parts
        joined by `and` that need no other columns.

        Args:
            columns: Names of columns.
        """
        whole = self._condition
        parts = whole.conditions if isinstance(whole, AllOf) else (whole,)
        found = tuple(part for part in parts if _names_of(part) <= {*columns})
        if not found:
            return None
        condition = found[0] if len(found) == 1 else AllOf(found)
        comparisons = tuple(comparisons_of(condition))
        names = dict.fromkeys(item.column.name for item in comparisons)
        return Where(self.text, tuple(names), condition, comparisons)

    def check(self, types: Mapping[str, ColumnType]) -> None:
        """Checks the condition against the columns of a dataset.

        Args:
            types: Columns by name, from `columns_of`. The column `split` is added.

        Raises:
            UsageError: A column does not exist, holds lists, or is compared with a
                constant of another type.
        """
        self._check({**types, SPLIT: ColumnType("string")})

    def keeps(self, table: "pyarrow.Table") -> "NDArray[np.bool_]":
        """Returns for which rows the condition is true, bool[rows].

        Args:
            table: `pyarrow.Table` with the columns `columns`; may have others.

        Raises:
            UsageError: The condition does not fit the columns, as in `check`.
            MissingLibraryError: pyarrow is not installed.
        """
        import_library("pyarrow", "where", "pyarrow")
        import numpy as np
        from pyarrow import compute

        self._check({field.name: _type_of(field.type) for field in table.schema})
        columns = {name: values_of(table[name]) for name in self.columns}
        is_true = compute.fill_null(self._condition.truth(columns), False)
        return np.asarray(is_true, dtype=np.bool_)

    def _check(self, types: Mapping[str, ColumnType]) -> None:
        for comparison in self._comparisons:
            name, at = comparison.column
            if name not in types:
                problem = f"no column {shortened(name)}"
                raise located(self.text, at, problem, column_hint(name, types))
            column = types[name]
            if column.is_list:
                problem = (
                    f"{name} holds several values per record and cannot be compared"
                )
                raise located(self.text, at, problem, "use a column of single values")
            if column.value not in _KINDS:
                problem = f"{name} has the type {column.value} and cannot be compared"
                raise located(self.text, at, problem, "use a column of text or numbers")
            self._check_constants(comparison, _KINDS[column.value])

    def _check_constants(self, comparison: Comparison, kind: str) -> None:
        name = comparison.column.name
        for constant in comparison.constants:
            source = shortened(constant.source)
            is_text = isinstance(constant.value, str)
            if is_text and kind == "numbers":
                problem = f"{name} holds numbers, and {source} is text"
                advice = "write a number, without quotes"
                if comparison.operator == "like":
                    advice = "use like with a column of text"
                raise located(self.text, constant.at, problem, advice)
            if not is_text and kind == "text":
                problem = f"{name} holds text, and {source} is a number"
                advice = f"write it in single quotes, '{source}'"
                raise located(self.text, constant.at, problem, advice)


def parse_where(text: str) -> Where:
    """Parses a condition.

    Raises:
        UsageError: The text is not a condition. The message shows the place.
    """
    if not isinstance(text, str):
        raise UsageError(f"where must be text, got {text!r}")
    if not text.strip():
        raise UsageError("where is empty: write a condition, such as width >= 512")
    parser = Parser(text)
    condition = parser.parse()
    columns = dict.fromkeys(item.column.name for item in parser.comparisons)
    return Where(text, tuple(columns), condition, tuple(parser.comparisons))


def _names_of(condition: Condition) -> set[str]:
    return {comparison.column.name for comparison in comparisons_of(condition)}


def column_hint(name: str, types: Mapping[str, ColumnType]) -> str:
    """Returns a suggestion for an unknown column, or else a list of the columns."""
    names = [column for column in types if not types[column].is_list]
    listed = ", ".join(names[:_MOST_LISTED])
    more = ", …" if len(names) > _MOST_LISTED else ""
    if "/" in name and not name.startswith(EXTRA):
        more += f". Those of a layer, {name.partition('/')[0]}/…, need layers"
    return did_you_mean(
        name,
        # The last one of columns that differ in the prefix alone is suggested.
        [*types][::-1],
        bare=lambda column: column.removeprefix(EXTRA).lower(),
        otherwise=f"columns are {listed}{more}",
    )


def _type_of(arrow_type: Any) -> ColumnType:
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    nested = types.is_nested(arrow_type)
    return ColumnType(str(arrow_type), is_list=nested)
