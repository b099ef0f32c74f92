"""Quotes and delimiters of text tables: no row disappears, whatever wrote the table."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.inputs.table_rows import Row, TextFormat, column_names, read_rows
from reader.contract.errors import BuildError, UsageError

HEADING = ("file_name", "caption")


@pytest.fixture
def read(tmp_path: Path):
    """`read(name, text, …)` returns the rows of a table, whose first column names."""

    def read(name: str, text: str, delimiter: str | None = None, quoting: str = "auto"):
        path = os.fsencode(tmp_path / name)
        with open(path, "wb") as file:
            file.write(text.encode())
        return rows_of(path, TextFormat("utf-8", delimiter, quoting))

    return read


def rows_of(path: bytes, text: TextFormat) -> list[Row]:
    names = column_names(path, text)
    return list(read_rows(path, names, text, names[0]))


def good(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [tuple(row.cells.values()) for row in rows if row.wrong is None]


def wrong(rows: Sequence[Row]) -> list[str]:
    return [row.wrong for row in rows if row.wrong is not None]


def quoted(rows: Sequence[Sequence[str]], delimiter: str, mode: int = 0) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=mode).writerows([HEADING, *rows])
    return text.getvalue()


def unquoted(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    return "".join(delimiter.join(row) + "\n" for row in (HEADING, *rows))


# Open quotes.

OPEN = [("0.jpg", '"open one'), ("1.jpg", 'closing one"'), ("2.jpg", "plain")]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.tsv", None), ("a.csv", "\t"), ("a.csv", "|")]
)
def test_a_table_without_quoting_keeps_its_quotes(read, name, delimiter):
    rows = read(name, unquoted(OPEN, delimiter or "\t"), delimiter)
    assert good(rows) == OPEN
    assert not wrong(rows)


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", None), ("a.txt", ";")])
def test_an_open_quote_in_csv_costs_its_own_row_alone(read, name, delimiter):
    rows = read(name, unquoted(OPEN, delimiter or ","), delimiter)
    assert good(rows) == OPEN[1:]
    (problem,) = wrong(rows)
    assert "line 2: a quoted cell continues to line 3" in problem
    assert "--table_quoting=csv" in problem


def test_an_open_quote_is_seen_whichever_column_names_images(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('caption,image\n"open,0.jpg\nclosing",1.jpg\nplain,2.jpg\n')
    names = column_names(os.fsencode(path), TextFormat())
    rows = list(read_rows(os.fsencode(path), names, TextFormat(), "image"))
    assert good(rows) == [('closing"', "1.jpg"), ("plain", "2.jpg")]
    assert len(wrong(rows)) == 1


def test_rows_that_a_record_of_too_many_cells_holds_are_read(read):
    rows = read("a.csv", 'file_name,caption\n0.jpg,"open\n1.jpg,close",x\n2.jpg,y\n')
    assert good(rows) == [("2.jpg", "y")]
    assert len(wrong(rows)) == 2  # 0.jpg, and 1.jpg with its three cells.


@pytest.mark.parametrize("quoting", ["csv", "none", "auto"])
def test_the_flag_says_what_the_quotes_mean(read, quoting):
    rows = read("a.csv", unquoted(OPEN, ","), None, quoting)
    assert (
        good(rows)
        == {
            "csv": [("0.jpg", "open one\n1.jpg,closing one"), OPEN[2]],
            "none": OPEN,
            "auto": OPEN[1:],
        }[quoting]
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_heading_that_swallows_rows_fails_with_its_name(read, name):
    mark = "," if name == "a.csv" else "\t"
    text = 'file_name,caption,"note\n0.jpg,a,b\n1.jpg,c,d"\n2.jpg,e,f\n'
    with pytest.raises(
        BuildError, match=r"the heading ends in line 3: close its quote"
    ):
        read(name, text.replace(",", mark))


# Cells of several lines, as Excel and pandas write them.

LINES = [
    ("0.jpg", "A man, standing.\nA dog, running."),
    ("1.jpg", "He sits.\nHe reads, alone"),
    ("2.jpg", 'He said: "no",\r\nand\twent, and; went'),
    ("3.jpg", "one\n\n\ntwo"),
    ("4.jpg", "trailing line end\n"),
]


@pytest.mark.parametrize("mode", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", None), ("a.tsv", None), ("a.csv", ";")]
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_cells_of_several_lines_are_cells(
    tmp_path, name, delimiter, mode, turned, begin
):
    mark = delimiter or {"a.csv": ",", "a.tsv": "\t"}[name]
    text = io.StringIO(newline="")
    step = -1 if turned else 1
    rows = [row[::step] for row in (HEADING, *LINES)]
    csv.writer(text, delimiter=mark, quoting=mode).writerows(rows)
    path = os.fsencode(tmp_path / name)
    with open(path, "wb") as file:
        file.write((begin + text.getvalue()).encode())
    format_ = TextFormat("utf-8", delimiter)
    names = column_names(path, format_)
    read = list(read_rows(path, names, format_, "file_name"))
    assert good(read) == rows[1:]
    assert not wrong(read)


# The vote of a TSV.


@pytest.mark.parametrize(
    ("lines", "read_as"),
    [
        # Quotes that CSV would not have, in lines that are rows as they are.
        (['a\t"one" and more'], [("a", '"one" and more')]),
        (['a\t"never closed', "b\tx"], [("a", '"never closed'), ("b", "x")]),
        # Doubled quotes and tabs in quotes.
        (['a\t"the ""big"" dog"'], [("a", 'the "big" dog')]),
        (['a\t"tab\there"'], [("a", "tab\there")]),
        # Quotes that may be either; as TSV has always been read.
        (['a\t"all of it"'], [("a", "all of it")]),
        # The majority.
        (['a\t"x"y', 'b\t"z"w', 'c\t"t\tu"'], [("a", '"x"y'), ("b", '"z"w')]),
        (['a\t"x"y', 'b\t"t\tu"', 'c\t"v""w"'], [("b", "t\tu"), ("c", 'v"w')]),
    ],
)
def test_rows_decide_whether_a_tsv_is_quoted(read, lines, read_as):
    rows = read("a.tsv", "\n".join(["file_name\tcaption", *lines, ""]))
    assert good(rows) == read_as
    assert len(rows) == len(lines)


def test_a_quoted_heading_settles_it(read):
    rows = read("a.tsv", '"file_name"\t"caption"\n"a"\t"x"y\n"b"\t"z"\n')
    assert good(rows) == [("b", "z")]


# Delimiters.


def test_the_results_of_flickr30k(read):
    text = (
        "image_name| comment_number| comment\n"
        '1.jpg| 0| Two men , one says " hi " .\n'
        '1.jpg| 1| "Stop" says the sign .\n'
        "1.jpg| 4   A dog runs across the grass .\n"
    )
    rows = read("results.csv", text, "|")
    assert good(rows) == [
        ("1.jpg", "0", 'Two men , one says " hi " .'),
        ("1.jpg", "1", '"Stop" says the sign .'),
    ]
    assert wrong(rows) == ["2 cells, but 3 columns"]


@pytest.mark.parametrize(
    ("name", "heading", "flag"),
    [
        ("a.csv", "file_name;caption", "';'"),
        ("a.csv", "file_name\tcaption", "tab"),
        ("a.csv", "image_name| comment_number| comment", "'|'"),
        ("a.tsv", "file_name,caption", ","),
        ("a.tsv.gz", "file_name;caption,en", "';'"),
    ],
)
def test_another_delimiter_is_suggested(tmp_path, name, heading, flag):
    import gzip

    data = heading.encode() + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if "gz" in name else data)
    with pytest.raises(UsageError, match=re.escape(f"--table_delimiter={flag} if")):
        column_names(os.fsencode(tmp_path / name), TextFormat())


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz", "a.parquet"])
@pytest.mark.parametrize("text", [("utf-8", ";"), ("utf-8", None, "none")])
def test_flags_of_delimited_text_are_refused_for_other_tables(name, text):
    with pytest.raises(UsageError, match="leave them out with"):
        column_names(name.encode(), TextFormat(*text))


# Any table: each row is read right, or a line is named.

ANY_CAPTION = st.text(st.sampled_from('",;|\t\n\r ab"'), max_size=8)
ONE_LINE = ANY_CAPTION.map(lambda text: re.sub(r"[\r\n]", "", text))


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@given(captions=st.lists(ONE_LINE, min_size=1, max_size=8))
def test_no_row_of_an_unquoted_table_is_lost(tmp_path_factory, delimiter, captions):
    rows = [
        (f"{number}.jpg", caption.replace(delimiter, ""))
        for number, caption in enumerate(captions)
    ]
    path = os.fsencode(tmp_path_factory.mktemp("any") / "a.csv")
    with open(path, "w") as file:
        file.write(unquoted(rows, delimiter))
    read = rows_of(path, TextFormat("utf-8", delimiter))
    assert len(read) == len(rows)
    for (name, caption), row in zip(rows, read, strict=True):
        if row.wrong is None:
            assert row.cells["file_name"] == name
            found = row.cells["caption"]
            # Nothing but quotes and spaces around a cell may have been taken away.
            assert re.sub('[" ]', "", found) == re.sub('[" ]', "", caption)
        else:
            assert f"line {row.number + 1}: " in row.wrong
    exact = rows_of(path, TextFormat("utf-8", delimiter, "none"))
    assert good(exact) == [(name, caption.strip(" ")) for name, caption in rows]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("mode", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@given(captions=st.lists(ANY_CAPTION, min_size=1, max_size=8))
def test_every_row_of_a_quoted_table_is_read(
    tmp_path_factory, delimiter, mode, captions
):
    rows = [(f"{number}.jpg", caption) for number, caption in enumerate(captions)]
    path = os.fsencode(tmp_path_factory.mktemp("any") / "a.csv")
    with open(path, "w", newline="") as file:
        file.write(quoted(rows, delimiter, mode))
    for quoting in ("auto", "csv"):
        read = rows_of(path, TextFormat("utf-8", delimiter, quoting))
        assert good(read) == [(name, caption.strip(" ")) for name, caption in rows]


@given(
    st.lists(
        st.tuples(ANY_CAPTION, st.sampled_from(["none", "csv", "half"])), max_size=8
    )
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_no_row_is_lost_where_quotes_are_used_at_random(
    tmp_path_factory, delimiter, rows
):
    """Some cells are quoted, some are not, and some have lost their last quote."""
    write = {
        "none": lambda text: re.sub(rf"[\r\n{delimiter}]", "", text),
        "csv": lambda text: '"' + text.replace('"', '""') + '"',
        "half": lambda text: '"' + re.sub(rf"[\r\n{delimiter}]", "", text),
    }
    cells = [(f"{n}.jpg", write[how](text)) for n, (text, how) in enumerate(rows)]
    path = os.fsencode(tmp_path_factory.mktemp("any") / "a.csv")
    with open(path, "w", newline="") as file:
        file.write(unquoted(cells, delimiter))
    read = rows_of(path, TextFormat("utf-8", delimiter))
    keys = {row.cells.get("file_name") for row in read if row.wrong is None}
    lost = {name for name, _ in cells} - keys
    assert len(lost) <= len(wrong(read))
