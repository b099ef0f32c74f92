"""Rows of tables, compared with Python's `csv` and `json` and with pyarrow."""

import csv
import gzip
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.inputs.captions import MAX_CAPTION_BYTES
from beam_jobs.inputs.table_rows import (
    Row,
    TextFormat,
    column_names,
    format_of,
    read_rows,
)
from reader.contract.errors import BuildError, UsageError


@pytest.fixture
def put(tmp_path: Path):
    def put(name: str | bytes, data: bytes) -> bytes:
        path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(data)
        return path

    return put


UTF_8 = TextFormat()
QUOTED = ("utf-8", None, "csv")


def rows_of(path: bytes, *text: Any) -> list[Row]:
    names = column_names(path, TextFormat(*text))
    return list(read_rows(path, names, TextFormat(*text)))


def cells_of(path: bytes, *text: Any) -> list[dict[str, Any]]:
    rows = rows_of(path, *text)
    assert [row.wrong for row in rows] == [None] * len(rows)
    return [row.cells for row in rows]


HARD_CELLS = [
    "plain",
    "",
    " spaces ",
    'quo"te',
    "com,ma",
    "line\nbreak",
    "both\r\nkinds",
    "tab\tin it",
    "NUL\0in it",
    "emoji 👩‍👩‍👧",
    "e\u0301 and \u00e9",
    "\ufeffmark",
    "\x1b[31mred\x07",
    "\u2028 separator \x85 \x0b \x0c \x1c",
    "null",
    "[1, 2]",
    "'",
    '""',
    "x" * 300_000,
]


# Formats and columns.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", ".csv"),
        ("a.TSV", ".tsv"),
        ("a.b.jsonl", ".jsonl"),
        ("a.ndjson", ".ndjson"),
        ("a.parquet", ".parquet"),
        ("a.csv.gz", ".csv"),
        ("a.JSONL.GZ", ".jsonl"),
    ],
)
def test_known_formats(name, kind):
    assert format_of(name.encode(), UTF_8) == kind


@pytest.mark.parametrize(
    "name", ["a", "a.json", "a.xlsx", "a.parquet.gz", ".gz", "csv"]
)
def test_other_formats_are_wrong_usage(name):
    with pytest.raises(UsageError, match="unknown table format"):
        format_of(name.encode(), UTF_8)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
def test_an_empty_file_has_no_columns(put, name):
    data = gzip.compress(b"") if name.endswith(".gz") else b""
    with pytest.raises(UsageError, match=rf"{name}: the table has no columns"):
        column_names(put(name, data), UTF_8)


@pytest.mark.parametrize("heading", [b"a,b,a\n", b"a,,\n"])
def test_two_columns_of_one_name_are_refused(put, heading):
    with pytest.raises(UsageError, match="two columns have the same name"):
        column_names(put("a.csv", heading), UTF_8)


def test_columns_of_json_lines_are_those_of_any_early_row(put):
    lines = [{"file_name": "a"}, {"file_name": "b", "text": "t"}, {"score": 1}]
    path = put("a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert column_names(path, UTF_8) == ["file_name", "text", "score"]


# CSV and TSV.


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize(
    ("ending", "quoting"),
    [
        ("\n", csv.QUOTE_ALL),
        ("\r\n", csv.QUOTE_MINIMAL),
        ("\r\n", csv.QUOTE_ALL),
        ("\r", csv.QUOTE_ALL),
    ],
)
def test_what_python_writes_as_csv_is_read_as_it_was(
    put, name, delimiter, ending, quoting
):
    expected = [{"a": cell, "b é": cell[::-1]} for cell in HARD_CELLS]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["a", "b é"], delimiter=delimiter, lineterminator=ending, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(expected)
    path = put(name, text.getvalue().encode())
    assert cells_of(path) == expected
    assert [row.number for row in rows_of(path)] == list(range(1, len(expected) + 1))


@given(st.lists(st.tuples(*[st.text(max_size=9)] * 2), max_size=9))
def test_any_text_survives_csv(tmp_path_factory, pairs):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *pairs])
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    got = [tuple(cells.values()) for cells in cells_of(os.fsencode(path), *QUOTED)]
    encodable = [
        tuple(
            cell.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
            for cell in pair
        )
        for pair in pairs
    ]
    assert got == encodable


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_mark_tells_the_encoding(put, name, encoding):
    text = "file_name,text\né.jpg,“Grüße”, \n".replace(", \n", "\n")
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    data = (mark + text).encode(encoding)
    path = put(name, gzip.compress(data) if name.endswith("gz") else data)
    assert cells_of(path) == [{"file_name": "é.jpg", "text": "“Grüße”"}]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "shift-jis", "utf-16-le"])
def test_without_a_mark_the_flag_tells_the_encoding(put, encoding):
    word = "日本" if encoding == "shift-jis" else "Café"
    path = put("a.csv", f"a,b\n1,{word}\n".encode(encoding))
    assert cells_of(path, encoding) == [{"a": "1", "b": word}]


def test_bytes_that_do_not_decode_are_a_matter_of_their_cell(put):
    path = put("a.csv", b"a,b\ncaf\xe9.jpg,fine\nb.jpg,\xff\n")
    first, second = cells_of(path)
    assert os.fsencode(first["a"]) == b"caf\xe9.jpg"
    assert first["b"] == "fine"
    assert second == {"a": "b.jpg", "b": "\udcff"}


def test_rows_with_other_than_as_many_cells_as_columns_are_told(put):
    path = put("a.csv", b"a,b\n1,2\n1\n1,2,3\n\n4,5\n")
    rows = rows_of(path)
    assert [(row.number, row.wrong) for row in rows] == [
        (1, None),
        (2, "1 cells, but 2 columns"),
        (3, "3 cells, but 2 columns"),
        (5, None),
    ]


@pytest.mark.parametrize(
    "bad", ['1,"never closed', '1,"a"b', '"1,x', '1,"a" ', '1,"a\nb"c']
)
@pytest.mark.parametrize("place", [0, 1, 4])
def test_bad_quotes_cost_no_row_but_their_own(put, bad, place):
    good = [f'{n},"row {n}"' if n % 2 else f"{n},row {n}" for n in range(4)]
    lines = [*good[:place], bad, *good[place:]]
    rows = rows_of(put("a.csv", "\n".join(["a,b", *lines, ""]).encode()))
    found = [row.cells["b"] for row in rows if row.wrong is None]
    assert found == [f"row {n}" for n in range(4)]
    assert sum(row.wrong is not None for row in rows) == 1 + bad.count("\n")
    assert len({row.number for row in rows}) == len(rows)


def test_many_open_quotes_are_read_in_one_go(put):
    rng = random.Random(0)
    lines = [rng.choice(['1,"x', "2,y", '3,"z"', '4,"u\nv"']) for _ in range(20_000)]
    path = put("a.csv", "\n".join(["a,b", *lines]).encode())
    rows = rows_of(path)
    # Each line starts at most one row, and most lines give a row.
    assert len(rows) <= sum(1 + line.count("\n") for line in lines)
    assert len(rows) >= len(lines) * 0.9


@pytest.mark.parametrize("heading", [b'"a"x,b\n', b'"a,b\n1,2\n'])
def test_a_heading_that_is_badly_quoted_fails_with_the_name(put, heading):
    path = put("a.csv", heading)
    with pytest.raises(BuildError, match=r"a\.csv is damaged"):
        column_names(path, UTF_8)


def test_a_cell_may_be_as_large_as_16_captions_and_no_larger(put):
    big = 16 * MAX_CAPTION_BYTES
    path = put(
        "a.csv", b"a,b\n1," + b"x" * big + b"\n2," + b"y" * (big + 1) + b"\n3,z\n"
    )
    first, second, third = rows_of(path)
    assert len(first.cells["b"]) == big
    assert second.wrong is not None and "larger than field limit" in second.wrong
    assert third.cells == {"a": "3", "b": "z"}


def test_a_table_of_one_column(put):
    assert cells_of(put("a.csv", b'a\n1\n""\n2\n')) == [
        {"a": "1"},
        {"a": ""},
        {"a": "2"},
    ]


# JSONL.


def test_json_lines_are_what_json_says(put):
    objects: list[dict[str, Any]] = [
        {"a": cell, "b": [cell, None, 1.5], "c": {"d": cell}} for cell in HARD_CELLS
    ]
    for ascii_only in (True, False):
        lines = [json.dumps(one, ensure_ascii=ascii_only) for one in objects]
        assert cells_of(put("a.jsonl", "\n".join(lines).encode())) == objects
        crlf = "\r\n\r\n".join(lines).encode()
        assert cells_of(put("b.jsonl", crlf)) == objects


def test_lines_that_are_no_objects_are_told_by_their_number(put):
    deep = "[" * 100_000
    lines = ['{"a": 1}', "", "{", "[]", "null", "3", deep, '{"a": 2}', '{"a": 1} x']
    rows = rows_of(put("a.jsonl", "\n".join(lines).encode()))
    assert [row.number for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9]
    good = [row.cells for row in rows if row.wrong is None]
    assert good == [{"a": 1}, {"a": 2}]
    wrong = [row.wrong or "" for row in rows if row.wrong is not None]
    assert all(one.startswith(("no JSON: ", "no JSON object")) for one in wrong)


def test_lone_surrogates_and_huge_numbers_do_no_harm(put):
    lines = [r'{"a": "\ud800"}', '{"a": ' + "9" * 5000 + "}", '{"a": 1e999}']
    first, second, third = rows_of(put("a.jsonl", "\n".join(lines).encode()))
    assert first.cells == {"a": "\ud800"}
    assert second.wrong is not None
    assert third.cells == {"a": float("inf")}


# Parquet.


def test_parquet_gives_what_pyarrow_holds(put, tmp_path):
    table = pa.table(
        {
            "file_name": pa.array(["a", None, "c"]),
            "large": pa.array(["x", "y", None], pa.large_string()),
            "kind": pa.array(["k", "k", "l"]).dictionary_encode(),
            "captions": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
            "fixed": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
            "nested": pa.array([{"b": 1}, None, {"b": 3}]),
            "a.b": pa.array([1, 2, 3], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    path = os.fsencode(tmp_path / "a.parquet")
    assert column_names(path, UTF_8) == table.column_names
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for chosen in (table.column_names, ["a.b", "captions"], ["kind"]):
        rows = list(read_rows(path, chosen, UTF_8))
        assert [row.number for row in rows] == [1, 2, 3]
        assert [row.cells for row in rows] == [
            {name: columns[name][place] for name in chosen} for place in range(3)
        ]


@pytest.mark.parametrize("name", [b"caf\xe9.parquet", "é\n'.parquet".encode()])
def test_parquet_of_any_name(put, tmp_path, name):
    data = io.BytesIO()
    pq.write_table(pa.table({"a": ["x"]}), data)
    assert cells_of(put(name, data.getvalue())) == [{"a": "x"}]


# Damage.


def tables() -> dict[str, bytes]:
    rng = random.Random(0)
    cells = [rng.randbytes(20).hex() for _ in range(500)]
    parquet = io.BytesIO()
    pq.write_table(pa.table({"a": cells}), parquet)
    return {
        "a.csv.gz": gzip.compress("\n".join(["a", *cells]).encode()),
        "a.parquet": parquet.getvalue(),
    }


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.9999])
def test_a_table_that_was_cut_short_fails_with_its_name(put, name, part):
    whole = tables()[name]
    path = put(name, whole[: int(len(whole) * part)])
    with pytest.raises((BuildError, UsageError)) as caught:
        rows_of(path)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet"])
def test_damage_anywhere_fails_with_the_name_or_is_not_noticed(put, name):
    whole, rng, failed = tables()[name], random.Random(0), 0
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.choices(range(len(data)), k=5):
            data[place] ^= 1 << rng.randrange(8)
        try:
            rows_of(put(name, bytes(data)))
        except (BuildError, UsageError) as error:
            assert name in str(error)
            failed += 1
    assert failed > 75


def test_half_a_letter_at_the_end_of_utf_16_fails_with_the_name(put):
    path = put("a.csv", "a,b\n1,é\n".encode("utf-16")[:-1])
    with pytest.raises(BuildError, match=r"a\.csv is damaged"):
        rows_of(path)


def test_an_error_of_the_system_stays_one(put, tmp_path):
    with pytest.raises(FileNotFoundError):
        column_names(os.fsencode(tmp_path / "none.parquet"), UTF_8)
    os.mkdir(tmp_path / "folder.csv.gz")
    with pytest.raises(IsADirectoryError):
        column_names(os.fsencode(tmp_path / "folder.csv.gz"), UTF_8)
