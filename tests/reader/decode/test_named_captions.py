"""The draw of captions by weights of their names, against a plain loop."""

from bisect import bisect_right
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.decode import captions, named_captions
from reader.decode.missing_captions import MissingCaptions
from reader.decode.named_captions import codes_of, names_of

DRAWS = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@st.composite
def examples(draw):
    """Weights of 1 to 4 names, and rows of codes of captions with two draws each."""
    num = draw(st.integers(1, 4))
    weights = draw(st.lists(st.integers(1, 1000), min_size=num, max_size=num))
    codes = st.lists(st.integers(0, num), max_size=6)
    rows = draw(st.lists(st.tuples(codes, DRAWS, DRAWS), min_size=1, max_size=9))
    return weights, rows


def plain(weights: list[int], codes: list[int], by_name: float, by_caption: float):
    """Returns the place of the drawn caption, or None, and the missing names."""
    there = [n for n in range(len(weights)) if n + 1 in codes]
    missing = [n not in there for n in range(len(weights))]
    if not there:
        return None, missing
    whole = names_of(dict(enumerate_names(weights))).weights.tolist()
    ends = list(accumulate(whole[n] for n in there))
    name = there[bisect_right(ends, int(by_name * ends[-1]))]
    places = [place for place, code in enumerate(codes) if code == name + 1]
    return places[int(by_caption * len(places))], missing


def enumerate_names(weights: list[int]):
    return ((f"n{n}", float(weight)) for n, weight in enumerate(weights))


@settings(max_examples=30)
@given(examples())
def test_a_caption_is_drawn_as_a_plain_loop_draws_it(made):
    weights, rows = made
    expected = [plain(weights, *row) for row in rows]
    width = max(len(codes) for codes, _, _ in rows) + 1
    codes = np.zeros((len(rows), width), np.int64)
    for row, (found, _, _) in zip(codes, rows, strict=True):
        row[: len(found)] = found
    whole = names_of(dict(enumerate_names(weights))).weights
    by_name, by_caption = (np.array([[row[place]] for row in rows]) for place in (1, 2))
    with_numpy = named_captions.draw_captions(codes, whole, by_name, by_caption)
    with_tensorflow = captions.draw_captions(
        codes.astype(np.int32), whole, by_name, by_caption
    )
    for which, valid, missing in (with_numpy, map(np.asarray, with_tensorflow)):
        drawn = np.where(valid, which, -1)[:, 0].tolist()
        assert drawn == [-1 if place is None else place for place, _ in expected]
        assert missing.tolist() == [flags for _, flags in expected]


@pytest.mark.parametrize(
    "weights", [{"a": 0.2, "b": 0.8}, {"a": 1, "b": 2, "c": 3}, {"a": 1e-9, "b": 1e9}]
)
def test_draws_are_shared_out_by_the_weights(weights):
    """Draws at the same distance from each other meet each name by its share."""
    num = 5_000
    draws = ((np.arange(num) + 0.5) / num)[:, np.newaxis]
    codes = np.tile(np.arange(1, len(weights) + 1), (num, 1))
    whole = names_of(weights).weights
    drawn = named_captions.draw_captions(codes, whole, draws, np.zeros((num, 1)))
    counts = np.bincount(drawn.which[:, 0], minlength=len(weights))
    for count, weight in zip(counts, weights.values(), strict=True):
        assert abs(count - num * weight / sum(weights.values())) <= 1


def test_names_are_numbered_and_those_without_one_are_base():
    found = [b"b", b"", b"x", b"a"]
    assert codes_of(found, [b"a", b"b"]).tolist() == [2, 0, 0, 1]
    assert codes_of(found, [b"base", b"b"]).tolist() == [2, 1, 0, 0]


def test_what_is_missing_is_counted_and_logged_once(caplog):
    counter = MissingCaptions({"a": 1.0, "b": 2.0})
    missing = np.array([[True, False], [True, True], [False, True], [False, False]])
    blank = np.array([False, False, True, False])
    for _ in range(2):
        counter.note(missing, blank)
    assert counter.counts == {"a": 4, "b": 2, "*": 2}
    assert len(caplog.messages) == 3
    assert MissingCaptions(None).counts == {}
