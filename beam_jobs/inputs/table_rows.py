"""START HERE: reads the rows of tables: CSV, TSV and JSONL, also gzipped, and Parquet.

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
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa

from beam_jobs.inputs import delimited_rows as delimited
from beam_jobs.inputs import parquet_rows as parquet
from beam_jobs.inputs.captions import BYTE_ORDER_MARKS
from beam_jobs.inputs.parquet_images import (
    ImageColumn,
    image_column_of,
    read_image_cells,
)
from beam_jobs.storage.files import open_file
from reader.contract.errors import BuildError, UsageError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TEXT = (*_DELIMITERS, ".jsonl", ".ndjson")
FORMATS = (*_TEXT, ".parquet")

# Number of JSONL rows whose fields make up the columns. A single row may lack some
# fields.
_NUM_INSPECTED_ROWS = 1000


class TextFormat(NamedTuple):
    """How the text of a table is read.

    Attributes:
        encoding: Encoding of a text without a byte order mark.
        delimiter: Character between cells, around which spaces are dropped. None for a
            comma in `.csv` and a tab in `.tsv`.
        quoting: Whether cells are quoted: `csv`, `none` or `auto`.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: str = "auto"


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


def format_of(path: bytes, text: TextFormat) -> str:
    """Returns the format of a table by its file name, such as `.csv`.

    With a delimiter, a file of any other name is `.csv`.

    Raises:
        UsageError: The format is not supported, or does not match the options.
    """
    name = os.fsdecode(path).lower()
    formats = _TEXT if name.endswith(".gz") else FORMATS
    suffix = os.path.splitext(name.removesuffix(".gz"))[1]
    if text.delimiter is not None and suffix not in FORMATS:
        return ".csv"
    if suffix not in formats:
        raise UsageError(
            f"{os.fsdecode(path)}: unknown table format: use one of "
            f"{', '.join(FORMATS)}, or a text format with .gz appended, or pass "
            "--table_delimiter"
        )
    options = (text.delimiter, text.quoting)
    if suffix not in _DELIMITERS and options != (None, "auto"):
        raise UsageError(
            "table_delimiter and table_quoting are for CSV, TSV and the like: leave "
            f"them out with {os.fsdecode(path)}"
        )
    return suffix


def column_names(path: bytes, text: TextFormat) -> list[str]:
    """Returns the column names of a table.

    The columns of JSONL are the fields of its first 1,000 rows.

    Args:
        path: Path of the table.
        text: How a text table is read.

    Raises:
        UsageError: The table has no columns, or two columns with the same name.
        BuildError: The file is damaged.
    """
    kind = format_of(path, text)
    if kind == ".parquet":
        with open_parquet(path) as file:
            names = list(parquet.schema_of(file).names)
    elif kind in _DELIMITERS:
        delimiter = text.delimiter or _DELIMITERS[kind]
        with _open_text(path, text.encoding) as file:
            names = _heading(delimited.Lines(file), delimiter, text)
        _check_delimiter(path, names)
    else:
        with _open_text(path, text.encoding) as file:
            rows = itertools.islice(_json_lines(file), _NUM_INSPECTED_ROWS)
            names = list(dict.fromkeys(name for row in rows for name in row.cells))
    if not names:
        raise UsageError(f"{os.fsdecode(path)}: the table has no columns")
    if len(set(names)) < len(names):
        raise UsageError(f"{os.fsdecode(path)}: two columns have the same name")
    return names


def _check_delimiter(path: bytes, names: Sequence[str]) -> None:
    """Rejects a heading of one cell that has the delimiters of another format."""
    if len(names) != 1:
        return
    for delimiter, flag in {";": "';'", "\t": "tab", "|": "'|'", ",": ","}.items():
        if delimiter in names[0]:
            raise UsageError(
                f'{os.fsdecode(path)}: the heading has one column, "{names[0]}": pass '
                f"--table_delimiter={flag} if that is what separates its cells"
            )


def images_column(path: bytes, name: str) -> ImageColumn | None:
    """Returns a column of a table as a column of images.

    Args:
        path: Path of the table.
        name: Name of the column.

    Returns:
        The column; None if it holds something else, as all columns of text tables do.

    Raises:
        BuildError: The file is damaged.
    """
    if not path.lower().endswith(b".parquet"):
        return None
    with open_parquet(path) as file:
        return image_column_of(parquet.schema_of(file), name)


def check_types(
    path: bytes, image: str | None, captions: Sequence[str], others: Sequence[str]
) -> None:
    """Checks the types of Parquet columns. Other table formats have no types.

    Args:
        path: Path of the table.
        image: Name of the column of image paths, which must be texts; or None.
        captions: Names of the columns of captions: texts, or lists of texts.
        others: Names of the other columns to read: texts, numbers, times or lists.

    Raises:
        UsageError: A column has another type.
    """
    if not path.lower().endswith(b".parquet"):
        return
    with open_parquet(path) as file:
        schema = parquet.schema_of(file)

    def check(
        name: str | None, fits: Callable[[pa.DataType], bool], problem: str
    ) -> None:
        if name is not None and not fits(schema.field(name).type):
            raise UsageError(
                f"{os.fsdecode(path)}: column {name} has type "
                f"{schema.field(name).type}, {problem}"
            )

    check(
        image,
        parquet.is_text,
        "not image paths or images: images are binary, or a struct of bytes and path",
    )
    for caption in captions:
        check(caption, parquet.is_captions, "not captions: write it as text first")
    for name in others:
        check(
            name,
            parquet.has_cells,
            "which has no text or number for a record: convert the column first",
        )


def read_rows(
    path: bytes,
    columns: Sequence[str],
    text: TextFormat,
    image_column: str | None = None,
) -> Iterator[Row]:
    """Yields the rows of a table.

    Args:
        path: Path of the table.
        columns: Names of the columns to read. Text formats yield all columns.
        text: How a text table is read.
        image_column: Name of the column of image paths, by which rows are recognized
            that an open quote has joined; or of images, whose cells are `ImageCell`s.

    Raises:
        BuildError: The file is damaged.
    """
    kind = format_of(path, text)
    if kind == ".parquet":
        with open_parquet(path) as file:
            rows = _parquet_rows(file, path, columns, image_column)
            for number, cells in enumerate(rows, 1):
                yield Row(number, cells)
    elif kind in _DELIMITERS:
        delimiter = text.delimiter or _DELIMITERS[kind]
        yield from _delimited_rows(path, delimiter, text, image_column)
    else:
        with _open_text(path, text.encoding) as file:
            yield from _json_lines(file)


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
def open_parquet(path: bytes) -> Iterator[Any]:
    """Opens a Parquet file.

    Args:
        path: Path of the table.

    Raises:
        BuildError: The file is damaged.
    """
    # The file is opened here, because pyarrow accepts only UTF-8 names.
    with open_file(path) as file, _explained(path):
        yield file


def _parquet_rows(
    file: Any, path: bytes, columns: Sequence[str], image_column: str | None
) -> Iterator[dict[str, Any]]:
    images = image_column and image_column_of(parquet.schema_of(file), image_column)
    if not image_column or not images:
        yield from parquet.read_cells(file, path, columns)
        return
    columns = [column for column in columns if column != image_column]
    rows = parquet.read_cells(file, path, columns)
    for cells, image in zip(rows, read_image_cells(file, images), strict=True):
        yield {**cells, image_column: image}


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


def _heading(lines: delimited.Lines, delimiter: str, text: TextFormat) -> list[str]:
    return _trimmed(delimited.read_heading(lines, delimiter, text.quoting), text)


def _trimmed(cells: list[str], text: TextFormat) -> list[str]:
    """Drops spaces around cells if the delimiter was chosen: people write `a | b`."""
    return cells if text.delimiter is None else [cell.strip(" ") for cell in cells]


def _delimited_rows(
    path: bytes, delimiter: str, text: TextFormat, image_column: str | None
) -> Iterator[Row]:
    with _open_text(path, text.encoding) as file:
        lines = delimited.Lines(file)
        names = _heading(lines, delimiter, text)
        image = names.index(image_column) if image_column in names else None
        shape = delimited.Shape(delimiter, len(names), image)
        quoting = text.quoting
        if quoting == "auto" and delimiter not in delimited.CSV_DELIMITERS:
            quoting = _quoting_of(path, shape, text)
        records = delimited.read_records(lines, shape, quoting)
        for number, record in enumerate(records, 1):
            if record.cells or record.wrong is not None:  # Not a blank line.
                cells = zip(names, _trimmed(record.cells, text), strict=False)
                yield Row(number, dict(cells), record.wrong)


def _quoting_of(path: bytes, shape: delimited.Shape, text: TextFormat) -> str:
    """Reads a whole table to decide whether it is quoted."""
    with _open_text(path, text.encoding) as file:
        lines = delimited.Lines(file)
        _heading(lines, shape.delimiter, text)
        return delimited.decide_quoting(lines, shape)


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
