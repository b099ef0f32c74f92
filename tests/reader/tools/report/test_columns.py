"""Tests the columns carried through on the page, against the table they came from."""

import re
from collections import Counter

import numpy as np
import pytest


@pytest.fixture
def tree(page, with_columns):
    return page(with_columns.folder, 0)


def figure_of(tree, title: str):
    section = tree.one("section", id="columns")
    return next(f for f in section.all("figure") if f.one("h3").text == title)


def rows_of(figure) -> list[tuple[str, int]]:
    rows = figure.one("tbody").all("tr")
    return [(row.one("th").text, int(row.one("td").text)) for row in rows]


def test_numbers_have_a_histogram_and_quantiles(tree, with_columns):
    figure = figure_of(tree, "extra/score")
    assert figure.one(class_="note").text == "120 numbers, 6 missing or NaN"
    cells = [np.float32(cell) for cell in with_columns.cells["score"] if cell]
    bars = rows_of(figure)
    assert sum(count for _, count in bars) == 114
    for label, count in bars:
        low, high = map(float, re.findall(r"[0-9.]+", label))
        within = [cell for cell in cells if low <= cell < high]
        assert abs(len(within) - count) <= 1  # On an edge, in float32.
    facts = {
        item.one("dt").text: item.one("dd").text
        for item in figure.one(class_="facts").all("div")
    }
    assert np.float32(facts["smallest"]) == min(cells)
    assert np.float32(facts["largest"]) == max(cells)
    for share in (1, 5, 10, 25, 75, 90, 95, 99):
        expected = np.quantile(cells, share / 100, method="inverted_cdf")
        assert np.float32(facts[f"{share}\u202f%"]) == expected
    stars = Counter(with_columns.cells["stars"])
    assert dict(rows_of(figure_of(tree, "extra/stars"))) == stars


def test_texts_are_listed_by_how_often_they_occur(tree):
    figure = figure_of(tree, "extra/license")
    note = "120 texts, 30 missing or empty, 2 different"
    assert figure.one(class_="note").text == note
    items = [(item.one("bdi").text, item.one("span").text) for item in figure.all("li")]
    assert items == [("CC0", "60"), ("CC-BY 4.0", "30")]
    # All different: nothing is frequent.
    figure = figure_of(tree, "extra/url")
    assert figure.one(class_="note").text == "120 texts, 120 different"
    assert not list(figure.all("li"))


def test_lists_are_told_by_their_length(tree):
    note = figure_of(tree, "extra/emb").one(class_="note").text
    assert note == "120 lists, 12 missing, 12 with NaN; every list has length 2"


def test_hostile_names_are_text(tree):
    figure = figure_of(tree, "extra/<b>odd")
    assert figure.one(class_="note").text == "120 numbers, 1 infinite"
    assert not list(tree.one("section", id="columns").all("b"))


def test_a_dataset_without_columns_has_no_such_section(page, dataset):
    tree = page(dataset, 0)
    assert not [s for s in tree.all("section") if s.attributes.get("id") == "columns"]
    assert "#columns" not in [a.attributes["href"] for a in tree.all("a")]
