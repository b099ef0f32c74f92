"""Which of very many words are most like one that is not among them."""

import difflib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_WORDS_AT_A_TIME = 100_000
# Pairs of characters are counted in so many kinds: few enough for a row per word.
_KINDS = 64
# How many words are compared by difflib, at some 20 µs each.
_NUM_COMPARED = 1_000


def nearest(word: str, words: Iterable[str], num: int = 3) -> list[str]:
    """Returns the words most like one, the best first; none if none is much like it.

    All are compared by how many pairs of neighbouring characters they share (Ukkonen:
    Approximate string-matching with q-grams and maximal matches, 1992; that distance
    is at most four times the edit distance), a million in a second; the nearest by
    that are then compared by `difflib`.
    """
    wanted = _pairs([word])[0]
    best: list[tuple[int, str]] = []
    for chunk in _chunks(words):
        distances = np.abs(_pairs(chunk) - wanted).sum(axis=1)
        few = np.argsort(distances, kind="stable")[:_NUM_COMPARED]
        found = ((int(distances[place]), chunk[place]) for place in few)
        best = heapq.nsmallest(_NUM_COMPARED, [*best, *found])
    return difflib.get_close_matches(word, dict.fromkeys(w for _, w in best), num)


def _chunks(words: Iterable[str]) -> Iterator[list[str]]:
    words = iter(words)
    while chunk := list(islice(words, _WORDS_AT_A_TIME)):
        yield chunk


def _pairs(words: Sequence[str]) -> NDArray[np.int16]:
    """Returns int16[n, kinds]: how many pairs of each kind a word has."""
    encoded = [b"\0%b\0" % word.lower().encode("utf-8", "replace") for word in words]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    chars = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64)
    kinds = (chars[:-1] * 37 + chars[1:]) % _KINDS
    rows = np.repeat(np.arange(len(encoded)), lengths)[:-1]
    # A pair of two words' ends: both are zero, and so is its kind, alike for all.
    counts = np.bincount(rows * _KINDS + kinds, minlength=len(encoded) * _KINDS)
    return counts.reshape(-1, _KINDS).astype(np.int16)
