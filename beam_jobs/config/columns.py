"""Converts table cells to the values of `extra/…` features.

All functions are pure. A cell that cannot be converted to its column's type raises
`BadCell`. A null becomes the column's default from `name:type=default`. Without one, a
null becomes NaN in a column of floats and an empty string in a text column, and is
rejected in an int or bool column.
"""

import json
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from reader.contract.errors import UsageError
from reader.contract.schema import EXTRA, Dtype, Feature, Values

Scalar = int | float | str
Value = Scalar | tuple[Scalar, ...]

_DTYPES: dict[str, Dtype] = {
    "int": "int64",
    "float": "float32",
    "float16": "float16",
    "str": "bytes",
    "bool": "int64",
}
_SPEC = re.compile(
    r"(?P<name>[^\s:,=\[\]/][^:,=\[\]/]*):(?P<type>int|float|float16|str|bool)"
    r"(?:\[(?P<length>[1-9][0-9]*)\])?(?:=(?P<default>.*))?"
)
_TRUTH = {"true": 1, "false": 0, "1": 1, "0": 0}
_WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")


class BadCell(ValueError):
    """A cell cannot be converted to its column's type."""


class Column(NamedTuple):
    """A source column that is stored in the records as a feature.

    Attributes:
        name: Name of the column in the source. The feature is `extra/<name>`.
        type: Type of the values: `int`, `float`, `float16`, `str` or `bool`.
        length: Number of values in each cell. None for a single value.
        default: Value that replaces a null. None for the default of the type: NaN for
            `float` and `float16`, an empty string for `str`. `int` and `bool` have no
            default, so a null rejects the key.
    """

    name: str
    type: str
    length: int | None
    default: Scalar | None

    @property
    def spec(self) -> str:
        """The column as written in the `--columns` flag, such as `emb:float[512]`."""
        length = "" if self.length is None else f"[{self.length}]"
        default = "" if self.default is None else f"={self.default}"
        return f"{self.name}:{self.type}{length}{default}"

    @property
    def feature(self) -> Feature:
        """Schema of the feature that stores the column."""
        shape = () if self.length is None else (self.length,)
        return Feature(f"{EXTRA}{self.name}", _DTYPES[self.type], shape, "extra")

    def value_of(self, cell: Any) -> Value:
        """Returns a cell converted to the column's type.

        Raises:
            BadCell: The cell has the wrong type, length or range, or is a null in a
                column without a default.
        """
        if cell is None or (cell == "" and not self._is_text):
            return self._null()
        if self.length is None:
            return self._scalar(cell)
        if isinstance(cell, str):
            cell = self._parsed(cell)
        if not isinstance(cell, (list, tuple)) or len(cell) != self.length:
            raise BadCell(f"{_shown(cell)} is no list of {self.length}")
        return tuple(self._scalar(item) for item in cell)

    @property
    def _is_text(self) -> bool:
        return self.type == "str" and self.length is None

    def _null(self) -> Value:
        null = _NULLS.get(self.type) if self.default is None else self.default
        if null is None:
            raise BadCell(
                f"null: say what it stands for, such as {self.name}:{self.type}=-1"
            )
        return null if self.length is None else (null,) * self.length

    def _parsed(self, cell: str) -> Any:
        """Returns the list that a CSV cell holds as JSON."""
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            raise BadCell(f"{_shown(cell)} is no JSON list") from None

    def _scalar(self, cell: Any) -> Scalar:
        if isinstance(cell, Decimal):
            cell = str(cell)  # The same text as in a CSV.
        try:
            return _CONVERT[self.type](cell)
        except (TypeError, ValueError, OverflowError):
            raise BadCell(f"{_shown(cell)} is no {self.type}") from None


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else text[:57] + "…"


def _int(cell: Any) -> int:
    number = _whole(cell) if isinstance(cell, str) else int(_number(cell))
    if isinstance(cell, float) and number != cell:
        raise ValueError
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _whole(cell: str) -> int:
    """Returns an integer; pandas writes 5 as `5.0` in a column with nulls."""
    match = _WHOLE.fullmatch(cell.strip())
    if match is None:
        raise ValueError
    return int(match[1])


def _float(cell: Any) -> float:
    return _rounded(cell, "<f")


def _float16(cell: Any) -> float:
    return _rounded(cell, "<e")


def _rounded(cell: Any, stored_as: str) -> float:
    """Returns a number rounded as it is stored; raises if it is too large."""
    number = _decimal(cell) if isinstance(cell, str) else float(_number(cell))
    stored: float = struct.unpack(stored_as, struct.pack(stored_as, number))[0]
    return stored


def _decimal(cell: str) -> float:
    # Python parses 1_000 as a thousand. In a table it is more likely an identifier.
    number = float(cell.replace("_", "?"))
    if math.isinf(number) and "inf" not in cell.lower():
        raise OverflowError
    return number


def _number(cell: Any) -> int | float:
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        raise TypeError
    return cell


def _bool(cell: Any) -> int:
    text = str(cell).strip().lower()
    if text not in _TRUTH:
        raise ValueError
    return _TRUTH[text]


def _str(cell: Any) -> str:
    if not isinstance(cell, (str, int, float)):
        raise TypeError
    text = str(cell)
    text.encode()  # Raises for a lone surrogate.
    return text


_CONVERT: dict[str, Callable[[Any], Scalar]] = {
    "int": _int,
    "float": _float,
    "float16": _float16,
    "str": _str,
    "bool": _bool,
}
# Values that replace nulls in columns without a default.
_NULLS: dict[str, Scalar] = {"float": math.nan, "float16": math.nan, "str": ""}


def parse_columns(text: str) -> tuple[Column, ...]:
    """Parses columns such as `score:float,url:str,emb:float[512],label:int=-1`.

    Raises:
        UsageError: The text has another form, or a column is repeated.
    """
    columns = tuple(parse_column(part.strip()) for part in text.split(","))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise UsageError(f'a column is repeated in "{text}"')
    return columns


def parse_column(text: str) -> Column:
    """Parses a column such as `emb:float[512]`, the inverse of `Column.spec`.

    Raises:
        UsageError: The text has another form.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageError(
            "write columns like score:float,url:str,emb:float[512],label:int=-1 "
            f'with types int, float, float16, str and bool, got "{text}"'
        )
    kind, default = match["type"], match["default"]
    try:
        match["name"].encode()
        null = None if default is None else _CONVERT[kind](default)
        # The manifest stores the default, and JSON has no infinity.
        if isinstance(null, float) and math.isinf(null):
            raise OverflowError
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f'"{default}" is not a valid {kind}, in column "{text}"'
        ) from None
    if isinstance(null, float) and math.isnan(null):
        null = None
    length = int(match["length"]) if match["length"] else None
    return Column(match["name"], kind, length, null)


def feature_values(column: Column, value: Value) -> Values:
    """Returns a cell's value as the list of values of a record's feature."""
    items = value if isinstance(value, tuple) else (value,)
    if column.type == "str":
        return [str(item).encode() for item in items]
    if column.type in ("float", "float16"):
        return [float(item) for item in items]
    return [int(item) for item in items]
