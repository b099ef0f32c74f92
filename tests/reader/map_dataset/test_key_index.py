"""Fuzzy matching of keys."""

import difflib
import random

import pytest

from reader.map_dataset.key_index import nearest

RNG = random.Random("nearest")
KEYS = [f"{RNG.randrange(300):03d}/photo_{number:07d}" for number in range(150_000)]


def changed(word: str) -> list[str]:
    """Returns a word with one typo of each kind, at a random position."""
    at = RNG.randrange(1, len(word) - 1)
    return [
        word[:at] + word[at + 1 :],
        word[:at] + "x" + word[at:],
        word[:at] + "x" + word[at + 1 :],
        word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
    ]


@pytest.mark.parametrize("word", RNG.sample(KEYS, 5))
def test_a_slip_anywhere_leads_back_to_the_word(word):
    for typo in changed(word):
        best, *_ = nearest(typo, KEYS)
        ratios = [
            difflib.SequenceMatcher(None, typo, other).ratio() for other in (best, word)
        ]
        # Another key may be equally similar.
        assert ratios[0] >= ratios[1]


def test_few_words_are_ranked_as_difflib_ranks_them():
    words = KEYS[:500]
    for word in words[:20]:
        expected = difflib.get_close_matches(word + "0", words)
        assert nearest(word + "0", words) == expected


def test_what_is_like_nothing_has_no_nearest_word():
    assert nearest("zzzzzz", KEYS[:100]) == []
    assert nearest("anything", []) == []
    assert nearest("", ["a"]) == []


def test_words_need_not_be_ascii():
    assert nearest("犬/ünïcöd", ["犬/ünïcödé", "cat", "\udcff"])[0] == "犬/ünïcödé"
