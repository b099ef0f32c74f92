"""Rows of tables: CSV, TSV, JSONL (each also gzipped) and Parquet, one at a time.

A row that is none (too many cells, no JSON object) is given with what is wrong with it.
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

from beam_jobs.sources.captions import BYTE_ORDER_MARKS, MAX_CAPTION_BYTES
from beam_jobs.storage.files import open_file
from reader.contract.errors import BuildError, UsageError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TEXT = (*_DELIMITERS, ".jsonl", ".ndjson")
FORMATS = (*_TEXT, ".parquet")

# A process-wide setting of Python's; its default is too small for an embedding.
csv.field_size_limit(16 * MAX_CAPTION_BYTES)

# Rows of JSONL that tell its columns: none need have them all.
_TELLING_ROWS = 1000


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        number: The first is 1; a heading does not count.
        cells: `{column: cell}`.
        wrong: What is wrong with it, if it is no row.
    """

    number: int
    cells: dict[str, Any]
    wrong: str | None = None


def format_of(path: bytes) -> str:
    """Returns the format of a table by its name: `.csv`.

    Raises:
        UsageError: It is none that we read.
    """
    name = os.fsdecode(path).lower()
    formats = _TEXT if name.endswith(".gz") else FORMATS
    suffix = os.path.splitext(name.removesuffix(".gz"))[1]
    if suffix not in formats:
        raise UsageError(
            f"{os.fsdecode(path)}: a table is called {', '.join(FORMATS)}, "
            "or .gz behind one of these that are text"
        )
    return suffix


def column_names(path: bytes, encoding: str) -> list[str]:
    """Returns the names of a table's columns; of JSONL, those of its first objects.

    Raises:
        UsageError: There are none, or two of one name.
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
                some = itertools.islice(_json_lines(text), _TELLING_ROWS)
                names = list(dict.fromkeys(name for row in some for name in row.cells))
    if not names:
        raise UsageError(f"{os.fsdecode(path)}: no columns in it")
    if len(set(names)) < len(names):
        raise UsageError(f"{os.fsdecode(path)}: two columns of one name")
    return names


def check_names_files(path: bytes, column: str) -> None:
    """Checks that a column of Parquet can hold names of files.

    Raises:
        UsageError: It holds something else, such as pictures themselves.
    """
    if format_of(path) != ".parquet":
        return
    with _open_parquet(path) as parquet:
        held = parquet.schema_arrow.field(column).type
    if pa.types.is_dictionary(held):
        held = held.value_type
    if not (pa.types.is_string(held) or pa.types.is_large_string(held)):
        raise UsageError(
            f"{os.fsdecode(path)}: column {column} holds {held}, not names of files: "
            "pictures inside a Parquet are not read, write them out as files first"
        )


def read_rows(path: bytes, columns: Sequence[str], encoding: str) -> Iterator[Row]:
    """Yields the rows of a table, with these of its columns at least.

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
        # Bytes that do not decode become lone surrogates, a matter of their cell alone.
        yield io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")


def _encoding_of(begin: bytes, encoding: str) -> tuple[bytes, str]:
    for mark, marked in BYTE_ORDER_MARKS:
        if begin.startswith(mark):
            return mark, marked
    return b"", encoding


@contextlib.contextmanager
def _explained(path: bytes) -> Iterator[None]:
    """Says which table it is that cannot be read at all."""
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
        # An error of the system has a number; those of gzip and Parquet have none.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BuildError(f"{os.fsdecode(path)} is damaged: {error}") from error


class _Lines:
    """The lines of a text, of which those of the last row can be had again."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._of_row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self._of_row.append(line)
        return line

    def begin_row(self) -> None:
        """Begins a row with the next line."""
        self._of_row = []

    def back_to_second(self) -> None:
        """Goes back to the second line of the row."""
        self._again.extendleft(reversed(self._of_row[1:]))


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
            # A quote that is never closed would take all rows below it along.
            lines.back_to_second()
            yield Row(number, {}, f"not quoted as in CSV: {error}")
            continue
        if len(cells) == len(names):
            yield Row(number, dict(zip(names, cells, strict=True)))
        elif cells:
            wrong = f"{len(cells)} cells, but {len(names)} columns"
            yield Row(number, dict(zip(names, cells, strict=False)), wrong)


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
    # Opened here, since pyarrow takes no name that is not UTF-8.
    with open_file(path) as file, _explained(path):
        yield pq.ParquetFile(file)


def _parquet_rows(path: bytes, columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    with _open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=4096, columns=list(columns)):
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cells)
