"""Splits the lines of CSV, TSV and other delimited text into records.

A quote that is left open joins the lines of several rows to one cell. Such a record is
rejected, and its later lines are parsed again, so that no row disappears.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from beam_jobs.inputs.captions import MAX_CAPTION_BYTES

# This setting is process-wide. Python's default is too small for an embedding.
csv.field_size_limit(16 * MAX_CAPTION_BYTES)

# Text with these delimiters is CSV, which is quoted as in RFC 4180.
CSV_DELIMITERS = (",", ";")
# The suffix of a file name, in a cell that may have lost one of its quotes.
_SUFFIX = re.compile(r"\.\w+[\s\"]*$")


class Shape(NamedTuple):
    """The properties of a table that rows are recognized by.

    Attributes:
        delimiter: Character between cells.
        num_columns: Number of cells of each row.
        image_column: Index of the column that names images. None if not known.
    """

    delimiter: str
    num_columns: int
    image_column: int | None = None


class Record(NamedTuple):
    """The cells of one row, or of lines that are not a row.

    Attributes:
        lines: Lines of the record, with line ends.
        cells: Cells of the record. Empty for a blank line.
        wrong: Description of the problem if the record is not a row, or None.
    """

    lines: Sequence[str]
    cells: list[str]
    wrong: str | None


class Lines:
    """Iterator over lines that can rewind to the second line of the current record.

    Attributes:
        record: Lines of the current record.
        number: Number of lines up to the end of the current record.
    """

    def __init__(self, text: Iterable[str]) -> None:
        """Initializes the iterator.

        Args:
            text: Lines, with line ends.
        """
        self._text = iter(text)
        self._pending: deque[str] = deque()
        self.record: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Returns the iterator itself."""
        return self

    def __next__(self) -> str:
        """Returns the next line, which becomes part of the current record."""
        line = self._pending.popleft() if self._pending else next(self._text)
        self.record.append(line)
        self.number += 1
        return line

    def begin_record(self) -> None:
        """Begins a record with the next line."""
        self.record = []

    def rewind(self) -> None:
        """Shortens the current record to its first line."""
        self._pending.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record[1:])
        del self.record[1:]


def read_heading(lines: Lines, delimiter: str, quoting: str) -> list[str]:
    """Returns the cells of the first record. Empty for an empty table.

    Raises:
        csv.Error: The heading has an open quote.
    """
    lines.begin_record()
    names = next(_parsed(lines, delimiter, quoting), [])
    if quoting == "auto" and _joins_rows(lines, names, Shape(delimiter, len(names))):
        raise csv.Error(
            f"the heading ends in line {lines.number}: close its quote, or pass "
            "--table_quoting=csv if a name of a column has line ends, none if the "
            "table has no quoting"
        )
    return names


def read_records(lines: Lines, shape: Shape, quoting: str) -> Iterator[Record]:
    """Yields the records after the heading.

    Args:
        lines: Lines of the table.
        shape: Delimiter and columns of the table.
        quoting: `none` if every line is a row, `csv` if cells are quoted as in RFC
            4180, or `auto` to also reject a quoted cell that joins what looks like
            several rows.
    """
    rows = _parsed(lines, shape.delimiter, quoting)
    while True:
        lines.begin_record()
        first = lines.number + 1
        cells: list[str] = []
        wrong = None
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            what = "" if quoting == "none" else "not quoted as in CSV: "
            wrong = f"line {first}: {what}{error}"
            lines.rewind()
        if quoting == "auto" and _joins_rows(lines, cells, shape):
            wrong = (
                f"line {first}: a quoted cell continues to line {lines.number} and "
                "holds what looks like rows: close its quote, or pass "
                "--table_quoting=csv if it is one cell, none if the table has no "
                "quoting"
            )
            lines.rewind()
        elif cells and len(cells) != shape.num_columns:
            wrong = f"{len(cells)} cells, but {shape.num_columns} columns"
        yield Record(lines.record, cells, wrong)


def _parsed(lines: Lines, delimiter: str, quoting: str) -> Iterator[list[str]]:
    if quoting == "none":
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _joins_rows(lines: Lines, cells: Sequence[str], shape: Shape) -> bool:
    """Returns whether at least two lines of a record look like rows of their own.

    They have as many cells as a row, and name an image by a file name with a suffix,
    if the record itself does so.
    """
    if len(lines.record) < 2:
        return False
    named = _has_suffix(cells, shape)
    rows = (
        row
        for line in lines.record
        if len(row := _unquoted(line, shape)) >= shape.num_columns
        and (_has_suffix(row, shape) or not named)
    )
    return len(list(rows)) > 1


def _has_suffix(cells: Sequence[str], shape: Shape) -> bool:
    column = shape.image_column
    if column is None or column >= len(cells):
        return False
    return _SUFFIX.search(cells[column]) is not None


def _unquoted(line: str, shape: Shape) -> list[str]:
    return line.rstrip("\r\n").split(shape.delimiter)


def decide_quoting(lines: Lines, shape: Shape) -> str:
    """Decides by the majority of its rows whether a table is quoted.

    A row is evidence for quoting if a quoted cell holds a delimiter, a line end or a
    doubled quote. A row is evidence against it if it has as many cells as there are
    columns, but only as long as quotes have no meaning.

    Args:
        lines: Lines of the table, whose heading was read last. A heading with quotes
            settles the question.
        shape: Delimiter and columns of the table.

    Returns:
        `auto` if the table is quoted, or `none`.
    """
    if any('"' in line for line in lines.record):
        return "auto"
    evidence = (_evidence(one, shape) for one in read_records(lines, shape, "auto"))
    return "auto" if sum(evidence) >= 0 else "none"


def _evidence(record: Record, shape: Shape) -> int:
    """Returns 1 if a record shows that its table is quoted, -1 if that it is not."""
    if not any('"' in line for line in record.lines):
        return 0
    raw = _unquoted(record.lines[0], shape)
    if record.wrong is not None:
        return -1 if len(raw) == shape.num_columns else 0
    plain = (raw, [cell[1:-1] if cell[:1] == '"' else cell for cell in raw])
    return 0 if record.cells in plain else 1
