"""Tests the columns carried through that `diptych show` counts."""

import shutil
from collections import Counter

import numpy as np
import pytest

from reader.tools.show import column_lines


@pytest.fixture
def fields(diptych, with_columns) -> dict[str, dict]:
    found = diptych("show", with_columns.folder, "--num=0", "--json").json
    assert found["columns_problem"] is None
    return {column["key"]: column for column in found["columns"]}


def test_numbers_are_those_of_the_table(fields, with_columns):
    score = fields["extra/score"]
    cells = [np.float32(cell) for cell in with_columns.cells["score"] if cell]
    assert (score["kind"], score["rows"], score["every"]) == ("number", 120, 1)
    assert (score["missing"], score["nan"], score["infinite"]) == (6, 6, 0)
    assert np.float32(score["min"]) == min(cells)
    assert np.float32(score["max"]) == max(cells)
    for share, value in score["quantiles"].items():
        expected = np.quantile(cells, float(share), method="inverted_cdf")
        assert np.float32(value) == expected
    edges, counts = score["histogram"]["edges"], score["histogram"]["counts"]
    assert len(edges) == len(counts) + 1
    assert sum(counts) == 114
    assert np.abs(np.histogram(cells, edges)[0] - counts).sum() <= 2  # On an edge.
    stars = fields["extra/stars"]
    counted = Counter(map(int, with_columns.cells["stars"]))
    assert stars["histogram"]["counts"] == [counted[n] for n in range(1, 6)]
    odd = fields["extra/<b>odd"]
    assert (odd["infinite"], odd["min"], odd["max"]) == (1, -0.5, -0.5)


def test_texts_and_lists_are_those_of_the_table(fields):
    license_ = fields["extra/license"]
    assert license_["frequent"] == [
        {"value": "CC0", "count": 60},
        {"value": "CC-BY 4.0", "count": 30},
    ]
    assert (license_["distinct"], license_["missing"]) == (2, 30)
    assert fields["extra/url"]["distinct"] == 120
    emb = fields["extra/emb"]
    assert (emb["kind"], emb["lengths"]) == ("list", {"2": 120})
    assert (emb["missing"], emb["nan"]) == (12, 12)


def test_the_page_has_them_as_bars(diptych, with_columns):
    done = diptych("show", with_columns.folder, "--num=0")
    assert (done.status, done.err) == (0, "")
    for part in (
        "columns, over 120 examples",
        "extra/score  120 numbers, 6 missing or NaN",
        "extra/stars  120 numbers",
        "extra/license  120 texts, 2 different, 30 missing or empty",
        "extra/url  120 texts, 120 different",
        "extra/emb  120 lists of 2 values, 12 missing, 12 with NaN",
        "extra/<b>odd  120 numbers, 1 infinite",
        " median ",
    ):
        assert part in done.out
    (line,) = (line for line in done.out.splitlines() if "CC0" in line)
    assert line.split() == ["CC0", "60", "█" * 22, "66.7%"]
    assert max(map(len, done.out.splitlines()[:-2])) <= 80
    assert "https://example.com/7" not in done.out


def test_of_many_shards_some_are_read(diptych, with_columns, monkeypatch):
    monkeypatch.setattr(column_lines, "MOST_SHARDS", 2)
    done = diptych("show", with_columns.folder, "--num=0")
    assert "examples of 120, in 2 shards; diptych report counts all" in done.out
    rows = diptych("show", with_columns.folder, "--num=0", "--json").json
    assert 0 < rows["columns"][0]["rows"] < 120


def test_a_dataset_without_columns_reads_no_table(diptych, own_dataset):
    shutil.rmtree(own_dataset / "samples")
    done = diptych("show", own_dataset)
    assert (done.status, done.err) == (0, "")
    assert "\ncolumns" not in done.out
    found = diptych("show", own_dataset, "--json").json
    assert (found["columns"], found["columns_problem"]) == ([], None)


def test_a_missing_table_is_named_and_the_rest_is_shown(
    diptych, with_columns, tmp_path
):
    out = shutil.copytree(with_columns.folder, tmp_path / "out")
    table = next(iter(sorted((out / "samples").iterdir())))
    table.unlink()
    done = diptych("show", out)
    assert (done.status, done.err) == (0, "")
    assert f"warning: columns cannot be counted: {table} is missing" in done.out
    assert "read it with" in done.out
    found = diptych("show", out, "--json").json
    assert found["columns"] == []
    assert str(table) in found["columns_problem"]
