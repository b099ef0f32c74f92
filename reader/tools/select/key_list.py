"""Reads a list of keys, and columns beside them, from a file of the user's."""

import functools
import io
import os
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.samples import ColumnType
from reader.contract.schema import display_path
from reader.storage.files import local_path, read_bytes

STDIN = "-"
# The usual name of the column with the keys.
KEY_COLUMN = "key"
_TABLES = {".csv": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")


class KeyList(NamedTuple):
    """Keys, each once, with columns beside them.

    Attributes:
        name: Name of the file.
        keys: `pyarrow.Array` of strings, keys as text, from `display_path`, in NFC.
        columns: `pyarrow.Table` of other columns, of which each row is that of a key.
        num_repeated: Number of lines that repeat a key.
    """

    name: str
    keys: Any
    columns: Any
    num_repeated: int

    @property
    def types(self) -> dict[str, ColumnType]:
        """Types of the columns; those that cannot be compared are lists."""
        return {field.name: _type_of(field.type) for field in self.columns.schema}

    def places(self, keys: Any) -> Any:
        """Returns the index of each key in the list, null for keys that are not there.

        Unicode normalization does not matter: names from macOS may be decomposed.

        Args:
            keys: `pyarrow.ChunkedArray` of strings.
        """
        compute = import_library("pyarrow.compute", "select", "pyarrow")
        return compute.index_in(_composed(keys), value_set=self.keys)


def read_key_list(path: str, column: str) -> KeyList:
    """Reads a list of keys.

    Args:
        path: Path of a CSV, TSV or Parquet file; of any other file, each line is a key.
            `-` is standard input, with a key a line.
        column: Name of the column with the keys.

    Raises:
        UsageError: The file is missing, no such table, or lacks the column.
    """
    import_library("pyarrow", "select", "pyarrow")
    extension = os.path.splitext(path)[1].lower()
    data = _read(path)
    if extension in _TABLES:
        return _of_table(path, _csv(path, data, _TABLES[extension], column), column)
    if extension in _PARQUET:
        return _of_table(path, _parquet(path, data), column)
    if column != KEY_COLUMN:
        raise UsageError(
            f"--key_column={column} needs a table, .csv, .tsv or .parquet; {path} has "
            "a key a line"
        )
    return _of_lines(path, data)


def _read(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return read_bytes(local_path(path))
    except OSError as error:
        raise UsageError(
            f"keys: {path} cannot be read ({error.strerror or error})"
        ) from None


def _of_lines(path: str, data: bytes) -> KeyList:
    import pyarrow

    lines = [
        line.rstrip(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    ]
    keys = pyarrow.array(
        [display_path(line) for line in lines if line], pyarrow.string()
    )
    return _unique(path, keys, pyarrow.table({}))


def _csv(path: str, data: bytes, delimiter: str, column: str) -> Any:
    import pyarrow
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # Keys such as 0042 are no numbers, and not all keys are UTF-8.
    convert = csv.ConvertOptions(column_types={column: pyarrow.binary()})
    try:
        return csv.read_csv(
            io.BytesIO(data), parse_options=parse, convert_options=convert
        )
    except pyarrow.ArrowInvalid as error:
        raise UsageError(f"keys: {path} is not a table: {error}") from None


def _parquet(path: str, data: bytes) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data), pre_buffer=False)
        return file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"keys: {path} is not a Parquet file: {error}") from None


def _of_table(path: str, table: Any, column: str) -> KeyList:
    import pyarrow

    names = table.column_names
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UsageError(f"keys: {path} has two columns {repeated}: rename one")
    if column not in names:
        advice = "pass --key_column"
        if len(names) == 1 and any(char in names[0] for char in ";\t|,"):
            advice = "separate cells with commas in .csv, with tabs in .tsv"
        raise UsageError(
            f"keys: {path} has no column {column}, but {', '.join(names)}: {advice}"
        )
    keys = table[column].combine_chunks()
    binary, large_binary = pyarrow.binary(), pyarrow.large_binary()
    # Also text: that of a Parquet file may not be UTF-8.
    if keys.type in (binary, large_binary, pyarrow.string(), pyarrow.large_string()):
        keys = _as_text(keys.cast(large_binary))
    try:
        keys = keys.cast(pyarrow.string())
    except pyarrow.ArrowException:
        raise UsageError(
            f"keys: the column {column} of {path} holds no text, but {keys.type}: pass "
            "--key_column"
        ) from None
    return _unique(path, keys, table.drop_columns([column]))


def _as_text(keys: Any) -> Any:
    """Returns keys that are bytes as text, as the dataset states them."""
    import pyarrow

    try:
        return keys.cast(pyarrow.string())
    except pyarrow.ArrowInvalid:  # Some are not UTF-8.
        shown = [key and display_path(key) for key in keys.to_pylist()]
        return pyarrow.array(shown, pyarrow.string())


def _composed(keys: Any) -> Any:
    """Returns keys in Unicode normalization form NFC."""
    from pyarrow import compute

    return compute.utf8_normalize(keys, form="NFC")


def _unique(path: str, keys: Any, columns: Any) -> KeyList:
    """Keeps the first row of each key; rows without a key are no rows."""
    from pyarrow import compute

    keys, columns = _composed(keys), _plain(columns)
    there = compute.fill_null(compute.not_equal(keys, ""), False)
    keys = keys.filter(there)
    columns = columns.filter(there) if columns.num_columns else columns
    encoded = compute.dictionary_encode(keys)
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(indices, return_index=True)
    rows = np.sort(first)
    kept = columns.take(rows) if columns.num_columns else columns
    return KeyList(path, keys.take(rows), kept, len(keys) - len(rows))


def _plain(table: Any) -> Any:
    """Returns a table with numbers of the types that conditions know."""
    import pyarrow
    from pyarrow import types

    for place, field in enumerate(table.schema):
        wanted = None
        if types.is_uint64(field.type):
            wanted = pyarrow.float64()  # Not all fit in int64.
        elif types.is_integer(field.type) or types.is_boolean(field.type):
            wanted = pyarrow.int64()
        elif types.is_floating(field.type) or types.is_decimal(field.type):
            is_single = types.is_float16(field.type) or types.is_float32(field.type)
            wanted = pyarrow.float32() if is_single else pyarrow.float64()
        if wanted is not None and wanted != field.type:
            column = table[field.name].cast(wanted, safe=False)
            table = table.set_column(place, field.name, column)
    return table


def _type_of(type_: Any) -> ColumnType:
    from pyarrow import types

    if types.is_dictionary(type_):
        type_ = type_.value_type
    return ColumnType(str(type_), is_list=types.is_nested(type_))


class KeysFound:
    """Counts which keys of a list a dataset has.

    Threads may share an instance.
    """

    def __init__(self, key_list: KeyList) -> None:
        """Initializes the counts."""
        self._list = key_list
        self._found: NDArray[np.bool_] = np.zeros(len(key_list.keys), np.bool_)

    def note(self, places: NDArray[np.int64]) -> None:
        """States that keys were found, by their places in the list."""
        self._found[places] = True

    @property
    def any(self) -> bool:
        """Whether a key was found."""
        return bool(self._found.any())

    @functools.cached_property
    def unknown(self) -> Any:
        """`pyarrow.Array` of the keys that were not found."""
        import pyarrow

        return self._list.keys.filter(pyarrow.array(~self._found))
