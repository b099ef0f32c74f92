"""What the rows of a key add to its record, whatever their order."""

import itertools
from typing import Any

import pytest

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import Entry, Pair, Reject
from beam_jobs.layers.match_rows import match_entries

CONFIG = LayerConfig(
    dataset="out",
    name="x",
    table="rows.csv",
    caption_column="caption",
    columns=parse_columns("score:float"),
)
SPLITS = {b"a": "train", b"b": "validation"}


def row(key: bytes, *texts: str, score: float = 0.5, **more: Any) -> Entry:
    return Entry(key, b"rows.csv", texts=texts, values=(score,), **more)


def matched(*rows: Entry, config: LayerConfig = CONFIG) -> dict[bytes, Pair | Reject]:
    pairs, rejects = match_entries(rows, SPLITS, config)
    found: list[Pair | Reject] = [*pairs, *rejects]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def reason(*rows: Entry) -> str:
    ((_, found),) = matched(*rows).items()
    assert isinstance(found, Reject)
    return found.reason


def test_a_row_goes_to_the_split_of_its_record():
    for key, split in SPLITS.items():
        found = matched(row(key, " A  cat "))[key]
        assert isinstance(found, Pair)
        assert (found.split, found.texts, found.values) == (split, ("A cat",), (0.5,))


def test_rows_of_a_key_are_merged_in_any_order():
    rows = [row(b"a", "z", "b"), row(b"a", "c"), row(b"a", "c"), row(b"a")]
    merged = {matched(*some)[b"a"] for some in itertools.permutations(rows)}
    assert [pair.texts for pair in merged if isinstance(pair, Pair)] == [
        ("c", "z", "b")
    ]


def test_unusable_captions_among_others_are_dropped():
    found = matched(row(b"a", "\ud800", "  ", "fine"))[b"a"]
    assert isinstance(found, Pair)
    assert found.texts == ("fine",)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(b"c", "a cat")], "unknown_key"),
        ([row(b"a", "one"), row(b"a", "two", score=0.25)], "conflicting_rows"),
        ([row(b"a")], "empty_caption"),
        ([row(b"a", " \u200b")], "empty_caption"),
        ([row(b"a", "\ud800")], "undecodable_caption"),
        ([row(b"a", "one"), row(b"a", flaw=("bad_value", ""))], "bad_value"),
        # What is wrong with a row is known before its key is looked for.
        ([row(b"c", flaw=("bad_row", ""))], "bad_row"),
    ],
)
def test_rejects(rows, expected):
    assert {reason(*some) for some in itertools.permutations(rows)} == {expected}
