"""Reads Parquet: checks the types of columns and converts their values to cells.

A type has the same cells on every machine. pyarrow's own `to_pylist` returns other
values for times if pandas is installed, and fails for a whole batch if one value is out
of range or not UTF-8. docs/tables.md#types-of-parquet lists the rule for each type.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reader.contract.errors import BuildError

_ROWS_PER_BATCH = 4096
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_MILLISECONDS_PER_DAY = 86_400_000
_EPOCH = datetime(1970, 1, 1)

_is = pa.types
_TEXTS = (_is.is_string, _is.is_large_string, _is.is_string_view)
_NUMBERS = (_is.is_boolean, _is.is_integer, _is.is_floating, _is.is_decimal)
_TIMES = (_is.is_date, _is.is_time, _is.is_timestamp, _is.is_duration)
_LISTS = (
    _is.is_list,
    _is.is_large_list,
    _is.is_fixed_size_list,
    _is.is_list_view,
    _is.is_large_list_view,
)


class NoCell:
    """A value that cannot be written out, such as a date after the year 9999.

    No column accepts it, and the message of the rejected row shows it.
    """

    def __init__(self, problem: str) -> None:
        """Initializes the value.

        Args:
            problem: Description of the value and of what is wrong with it.
        """
        self._problem = problem

    def __repr__(self) -> str:
        """Returns the problem, for messages."""
        return f"<{self._problem}>"


def opened(file: Any, buffer_bytes: int = 0) -> pq.ParquetFile:
    """Opens a Parquet file that is read in this thread alone.

    A thread of pyarrow's that lets go of Python's file while the interpreter ends
    aborts the process.

    Args:
        file: Open file.
        buffer_bytes: Size of the pieces in which a column of a row group is read; or 0
            to read it at once.
    """
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=buffer_bytes)


def schema_of(file: Any) -> pa.Schema:
    """Returns the Arrow schema of an open Parquet file."""
    return opened(file).schema_arrow


def is_text(type_: pa.DataType) -> bool:
    """Returns whether the values of a type are texts."""
    return _any(_TEXTS, stored_type(type_))


def is_captions(type_: pa.DataType) -> bool:
    """Returns whether the values of a type are texts, lists of texts or nulls."""
    item = _item(type_)
    return is_text(item) or _is.is_null(item)


def has_cells(type_: pa.DataType) -> bool:
    """Returns whether the values of a type are texts, numbers, times or lists of them.

    Others are bytes, structs, maps and lists of lists. Parquet has no unions, intervals
    and run-end encoded values.
    """
    item = _item(type_)
    return is_captions(item) or _any((*_NUMBERS, *_TIMES), item)


def read_cells(
    file: Any, path: bytes, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields the rows of an open Parquet file as `{column: cell}`.

    Args:
        file: Open Parquet file.
        path: Path of the file, for messages.
        columns: Names of the columns to read. Their types pass `has_cells`.

    Raises:
        BuildError: Lists of fixed size have nulls among them.
    """
    for batch in _batches(opened(file), path, columns):
        cells = (cells_of(batch.column(name)) for name in columns)
        for row in zip(*cells, strict=True):
            yield dict(zip(columns, row, strict=True))


def _batches(
    parquet: pq.ParquetFile, path: bytes, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    read = partial(parquet.iter_batches, columns=list(columns), use_threads=False)
    try:
        yield from read(_ROWS_PER_BATCH)
    except pa.ArrowInvalid as error:
        if "lists to be of size" not in str(error):
            raise
        schema = parquet.schema_arrow
        fixed = (name for name in columns if _is_fixed(schema.field(name).type))
        raise BuildError(
            f"{os.fsdecode(path)}: pyarrow cannot read lists of a fixed size with "
            f"nulls among them: write lists of any length in {' or '.join(fixed)}"
        ) from error


def cells_of(array: pa.Array) -> list[Any]:
    """Returns the values of an array as texts, numbers, lists of them, and None.

    Dates, times and decimals become texts, and so do durations, in seconds. Bytes that
    are not UTF-8 become lone surrogates, as in text tables.
    """
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return cells_of(array.storage)
    if _is.is_dictionary(type_):
        return cells_of(array.dictionary_decode())
    if _any(_LISTS, type_):
        items = iter(cells_of(array.flatten()))
        lengths = pc.list_value_length(array).to_pylist()
        return [
            None if length is None else list(itertools.islice(items, length))
            for length in lengths
        ]
    if _any(_TEXTS, type_):
        return _texts(array)
    if _any(_TIMES, type_):
        whole = array.view(pa.int64() if type_.bit_width == 64 else pa.int32())
        return _mapped(_writer_of(type_), whole)
    if _is.is_decimal(type_):
        return _mapped(_plain, array)
    if _is.is_float16(type_):
        return _mapped(float, array)  # Older versions of pyarrow return NumPy's type.
    return list(array.to_pylist())


def _any(kinds: Sequence[Callable[[Any], bool]], type_: pa.DataType) -> bool:
    return any(is_kind(type_) for is_kind in kinds)


def stored_type(type_: pa.DataType) -> pa.DataType:
    """Returns the type of the values behind dictionaries and extension types."""
    if isinstance(type_, pa.BaseExtensionType):
        return stored_type(type_.storage_type)
    return stored_type(type_.value_type) if _is.is_dictionary(type_) else type_


def _is_fixed(type_: pa.DataType) -> bool:
    return bool(_is.is_fixed_size_list(stored_type(type_)))


def _item(type_: pa.DataType) -> pa.DataType:
    """Returns the type of the items of a list type, or the type itself."""
    type_ = stored_type(type_)
    return stored_type(type_.value_type) if _any(_LISTS, type_) else type_


def _mapped(convert: Callable[[Any], Any], array: pa.Array) -> list[Any]:
    return [None if value is None else convert(value) for value in array.to_pylist()]


def _texts(array: pa.Array) -> list[str | None]:
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        buffers = (text.as_buffer() for text in array)
        return [
            None
            if buffer is None
            else buffer.to_pybytes().decode(errors="surrogateescape")
            for buffer in buffers
        ]


def _writer_of(type_: pa.DataType) -> Callable[[int], Any]:
    """Returns the function that writes out the stored integers of a time type."""
    if _is.is_date32(type_):
        return _date
    if _is.is_date64(type_):
        return lambda value: _date(value // _MILLISECONDS_PER_DAY)
    digits = _DIGITS[type_.unit]
    if _is.is_time(type_):
        return partial(_time, digits)
    if _is.is_duration(type_):
        return lambda value: _plain(Decimal(value).scaleb(-digits))
    zone = type_.tz and _zone(type_.tz)
    if isinstance(zone, NoCell):
        return lambda _: zone
    return partial(_timestamp, digits, zone)


def _plain(value: Decimal) -> str:
    return f"{value:f}"  # `str` writes a small number as 1E-8.


def _date(days: int) -> str | NoCell:
    try:
        return date.fromordinal(_EPOCH.toordinal() + days).isoformat()
    except (ValueError, OverflowError):
        return NoCell(f"date {days} days from 1970, outside years 1 to 9999")


def _time(digits: int, value: int) -> str | NoCell:
    seconds, fraction = divmod(value, 10**digits)
    if not 0 <= seconds < 86_400:
        return NoCell(f"time {seconds} s, not within a day")
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = time(hour, minute, second).isoformat()
    return text + _fraction(fraction, digits)


def _timestamp(digits: int, zone: tzinfo | None, value: int) -> str | NoCell:
    seconds, fraction = divmod(value, 10**digits)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
        if zone is not None:
            moment = moment.replace(tzinfo=UTC).astimezone(zone)
    except OverflowError:
        return NoCell(f"time {seconds} s from 1970, outside years 1 to 9999")
    text = moment.isoformat()
    seconds_end = len("0001-01-01T00:00:00")
    return text[:seconds_end] + _fraction(fraction, digits) + text[seconds_end:]


def _fraction(value: int, digits: int) -> str:
    """Returns a fraction of a second with 0, 6 or 9 digits, as few as needed."""
    text = f"{value:0{digits}}".ljust(9, "0") if value else ""
    return f".{text.removesuffix('000')}" if text else ""


def _zone(name: str) -> tzinfo | NoCell:
    """Returns a time zone by the name in an Arrow type, such as `+01:00`."""
    if name.upper() == "UTC":
        return UTC
    if name[:1] in ("+", "-"):
        try:
            offset = datetime.strptime(name, "%z").utcoffset()
        except ValueError:
            return NoCell(f"unknown time zone {name}")
        return timezone(offset or timedelta())
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return NoCell(f"unknown time zone {name}")
