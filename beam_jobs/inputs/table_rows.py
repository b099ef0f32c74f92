"""Reads the rows of tables: CSV, TSV and JSONL, also gzipped, and Parquet.

Rows are streamed. An invalid row (wrong number of cells, not a JSON object) is yielded
with a description of the problem.
"""

import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.inputs.captions import BYTE_ORDER_MARKS, MAX_CAPTION_BYTES
from beam_jobs.storage.files import open_file
from reader.contract.errors import BuildError, UsageError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TEXT = (*_DELIMITERS, ".jsonl", ".ndjson")
FORMATS = (*_TEXT, ".parquet")

# This setting is process-wide. Python's default is too small for an embedding.
csv.field_size_limit(16 * MAX_CAPTION_BYTES)

# Number of JSONL rows whose fields make up the columns. A single row may lack some
# fields.
_NUM_INSPECTED_ROWS = 1000


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        number: Number of the row. The first row is 1, and the header is not counted.
        cells: Cells of the row, as `{column: cell}`.
        wrong: Description of the problem if the row is invalid, or None.
    """

    number: int
    cells: dict[str, Any]
    wrong: str | None = None


def format_of(path: bytes) -> str:
    """Returns the format of a table by its file name, such as `.csv`.

    Raises:
        UsageError: The format is not supported.
    """
    name = os.fsdecode(path).lower()
    formats = _TEXT if name.endswith(".gz") else FORMATS
    suffix = os.path.splitext(name.removesuffix(".gz"))[1]
    if suffix not in formats:
        raise UsageError(
            f"{os.fsdecode(path)}: unknown table format: use one of "
            f"{', '.join(FORMATS)}, or a text format with .gz appended"
        )
    return suffix


def column_names(path: bytes, encoding: str) -> list[str]:
    """Returns the column names of a table.

    The columns of JSONL are the fields of its first 1,000 rows.

    Args:
        path: Path of the table.
        encoding: Encoding of a text table without a byte order mark.

    Raises:
        UsageError: The table has no columns, or two columns with the same name.
        BuildError: The file is damaged.
    """
    kind = format_of(path)
    if kind == ".parquet":
        with _open_parquet(path) as parquet:
            names = list(parquet.schema_arrow.names)
    else:
        with _open_text(path, encoding) as text:
            if kind in _DELIMITERS:
                names = next(_cells(text, kind), [])
            else:
                rows = itertools.islice(_json_lines(text), _NUM_INSPECTED_ROWS)
                names = list(dict.fromkeys(name for row in rows for name in row.cells))
    if not names:
        raise UsageError(f"{os.fsdecode(path)}: the table has no columns")
    if len(set(names)) < len(names):
        raise UsageError(f"{os.fsdecode(path)}: two columns have the same name")
    return names


def check_names_files(path: bytes, column: str) -> None:
    """Checks that a Parquet column has a text type, for image paths.

    Other table formats pass.

    Raises:
        UsageError: The column has another type, such as encoded images.
    """
    if format_of(path) != ".parquet":
        return
    with _open_parquet(path) as parquet:
        type_ = parquet.schema_arrow.field(column).type
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_)):
        raise UsageError(
            f"{os.fsdecode(path)}: column {column} has type {type_}, not image paths: "
            "images stored inside Parquet are not supported, write them to files first"
        )


def read_rows(path: bytes, columns: Sequence[str], encoding: str) -> Iterator[Row]:
    """Yields the rows of a table.

    Args:
        path: Path of the table.
        columns: Names of the columns to read. Text formats yield all columns.
        encoding: Encoding of a text table without a byte order mark.

    Raises:
        BuildError: The file is damaged.
    """
    kind = format_of(path)
    if kind == ".parquet":
        yield from _parquet_rows(path, columns)
        return
    with _open_text(path, encoding) as text:
        yield from _delimited(text, kind) if kind in _DELIMITERS else _json_lines(text)


@contextlib.contextmanager
def _open_text(path: bytes, encoding: str) -> Iterator[IO[str]]:
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(open_file(path))
        if path.lower().endswith(b".gz"):
            file = stack.enter_context(gzip.GzipFile(fileobj=file))
        stack.enter_context(_explained(path))
        mark, encoding = _encoding_of(file.read(4), encoding)
        file.seek(len(mark))
        # Undecodable bytes become lone surrogates and affect only their own cell.
        yield io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")


def _encoding_of(begin: bytes, encoding: str) -> tuple[bytes, str]:
    for mark, marked in BYTE_ORDER_MARKS:
        if begin.startswith(mark):
            return mark, marked
    return b"", encoding


@contextlib.contextmanager
def _explained(path: bytes) -> Iterator[None]:
    """Converts errors of damaged tables to a `BuildError` that names the table."""
    try:
        yield
    except (
        UnicodeError,
        EOFError,
        csv.Error,
        zlib.error,
        pa.ArrowException,
        OSError,
    ) as error:
        # Operating system errors have an errno, errors of gzip and Parquet do not.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BuildError(f"{os.fsdecode(path)} is damaged: {error}") from error


class _Lines:
    """Iterator over lines that can rewind to the second line of the current row."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._pending: deque[str] = deque()
        self._row_lines: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pending.popleft() if self._pending else next(self._text)
        self._row_lines.append(line)
        return line

    def begin_row(self) -> None:
        self._row_lines = []

    def rewind_to_second_line(self) -> None:
        self._pending.extendleft(reversed(self._row_lines[1:]))


def _cells(lines: Iterable[str], kind: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=_DELIMITERS[kind], strict=True)


def _delimited(text: IO[str], kind: str) -> Iterator[Row]:
    lines = _Lines(text)
    rows = _cells(lines, kind)
    names = next(rows, [])
    number = 0
    while True:
        number += 1
        lines.begin_row()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            # An unclosed quote spans the lines of later rows, which are parsed again.
            lines.rewind_to_second_line()
            yield Row(number, {}, f"not quoted as in CSV: {error}")
            continue
        if len(cells) == len(names):
            yield Row(number, dict(zip(names, cells, strict=True)))
        elif cells:
            problem = f"{len(cells)} cells, but {len(names)} columns"
            yield Row(number, dict(zip(names, cells, strict=False)), problem)


def _json_lines(text: IO[str]) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"no JSON: {error}")
            continue
        if isinstance(cells, dict):
            yield Row(number, cells)
        else:
            yield Row(number, {}, "no JSON object")


@contextlib.contextmanager
def _open_parquet(path: bytes) -> Iterator[pq.ParquetFile]:
    # The file is opened here, because pyarrow accepts only UTF-8 names.
    with open_file(path) as file, _explained(path):
        yield pq.ParquetFile(file)


def _parquet_rows(path: bytes, columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    with _open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=4096, columns=list(columns)):
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cells)
