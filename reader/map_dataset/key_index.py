"""Maps keys to record numbers, and finds similar keys."""

import difflib
import functools
import heapq
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reader.contract import samples
from reader.contract.errors import DatasetError, UsageError
from reader.contract.schema import display_path
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import read_table, readings
from reader.decode.outputs import check_conflicts
from reader.records.random_access import RecordFiles

_LOG = logging.getLogger("reader")


class Keys:
    """Keys of a record source, kept as hashes; the first lookup reads all keys."""

    def __init__(self, source: RecordSource, files: RecordFiles) -> None:
        """Creates the index without reading keys.

        Args:
            source: Records whose keys to index.
            files: Files of the source.
        """
        self._source, self._files = source, files

    def number_of(self, key: str | bytes) -> int:
        """Returns the number of the record with a key.

        Raises:
            DatasetError: The record is damaged, or a shard is missing.
            KeyError: No record has the key, or several records have it.
            TypeError: The key is neither str nor bytes.
            UsageError: The feature that holds keys is unknown.
        """
        check_conflicts(("key",), self._source.record_schema)
        if "key" not in self._source.record_schema.features:
            raise UsageError(
                f"the feature of {self._source.name} that holds keys is unknown: pass "
                'features={"key": …} when opening'
            )
        if not isinstance(key, (str, bytes)):
            raise TypeError(f"keys must be str or bytes, got {key!r}")
        exact = _exact(key)
        shown = display_path(exact)
        found = self._shown_as(shown)
        numbers = [n for n, other in found.items() if other == exact]
        if not numbers and isinstance(key, str):
            numbers = [n for n, other in found.items() if display_path(other) == key]
        if len(numbers) != 1:
            raise KeyError(self._not_single(shown, numbers))
        return numbers[0]

    def _shown_as(self, shown: str) -> dict[int, bytes]:
        """Returns `{number: key}` of records whose displayed key has the same hash."""
        hashes, order = self._hashes
        first = np.searchsorted(hashes, hash(shown), side="left")
        end = np.searchsorted(hashes, hash(shown), side="right")
        found = ((n, self._files.key(n)) for n in order[first:end].tolist())
        return {number: key for number, key in found if key is not None}

    @functools.cached_property
    def _hashes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sorted hashes of all displayed keys, and their record numbers."""
        num = self._source.num_examples
        hashes = np.fromiter(map(hash, self._shown()), np.int64, num)
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def _shown(self) -> Iterator[str]:
        """Yields the displayed key of each record; "" if the key cannot be read."""
        first, shards = 0, self._source.shards
        tables = readings(lambda n: read_table(shards[n], [samples.KEY]), self._source)
        for shard, table in zip(shards, tables, strict=True):
            end = first + shard.num_examples
            try:
                yield from table().column(samples.KEY).to_pylist()
            except (UsageError, DatasetError):
                yield from map(self._shown_in_record, range(first, end))
            first = end

    def _shown_in_record(self, number: int) -> str:
        try:
            return display_path(self._files.key(number) or b"")
        except DatasetError as error:
            _LOG.warning("by_key cannot find this record: %s", error)
            return ""

    def _not_single(self, shown: str, numbers: Sequence[int]) -> str:
        name = self._source.name
        if numbers:
            several = ", ".join(map(str, numbers))
            return f'records {several} of {name} all have the key "{shown}"'
        near = nearest(shown, filter(None, self._shown()))
        similar = f"; the most similar keys are {', '.join(near)}" if near else ""
        return f'no record of {name} has the key "{shown}"{similar}'


def _exact(key: str | bytes) -> bytes:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


_CHUNK_WORDS = 100_000
# Number of hash bins for character pairs: few enough for one row of counts per word.
_BINS = 64
# Number of words compared with difflib, at about 20 µs each.
_NUM_COMPARED = 1_000


def nearest(word: str, words: Iterable[str], num: int = 3) -> list[str]:
    """Returns up to `num` words most similar to `word`, the most similar first.

    Returns an empty list if no word is similar enough.

    Ranks all words by the pairs of adjacent characters that they share, about a million
    words per second (Ukkonen: Approximate string-matching with q-grams and maximal
    matches, 1992; this distance is at most four times the edit distance). Then compares
    the best candidates with `difflib`.
    """
    wanted = _pairs([word])[0]
    best: list[tuple[int, str]] = []
    for chunk in _chunks(words):
        distances = np.abs(_pairs(chunk) - wanted).sum(axis=1)
        few = np.argsort(distances, kind="stable")[:_NUM_COMPARED]
        found = ((int(distances[i]), chunk[i]) for i in few)
        best = heapq.nsmallest(_NUM_COMPARED, [*best, *found])
    return difflib.get_close_matches(word, dict.fromkeys(w for _, w in best), num)


def _chunks(words: Iterable[str]) -> Iterator[list[str]]:
    words = iter(words)
    while chunk := list(islice(words, _CHUNK_WORDS)):
        yield chunk


def _pairs(words: Sequence[str]) -> NDArray[np.int16]:
    """Returns int16[n, bins], counts of each word's character pairs per hash bin."""
    encoded = [b"\0%b\0" % word.lower().encode("utf-8", "replace") for word in words]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    chars = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64)
    bins = (chars[:-1] * 37 + chars[1:]) % _BINS
    rows = np.repeat(np.arange(len(encoded)), lengths)[:-1]
    # A pair across two words is two zeros, so it falls into bin 0 for all words alike.
    counts = np.bincount(rows * _BINS + bins, minlength=len(encoded) * _BINS)
    return counts.reshape(-1, _BINS).astype(np.int16)
