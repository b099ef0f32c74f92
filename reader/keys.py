"""From keys to the numbers of records."""

import functools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import DatasetError, UsageError
from reader.contract.schema import display_path
from reader.datasets.record_source import Corpus
from reader.datasets.samples_table import read_table
from reader.nearest import nearest
from reader.records.random_access import RecordFiles

_LOG = logging.getLogger("reader")


class Keys:
    """The keys of a corpus, as hashes: all are read when the first is asked for."""

    def __init__(self, corpus: Corpus, files: RecordFiles) -> None:
        """Takes where they are."""
        self._corpus, self._files = corpus, files

    def number_of(self, key: str | bytes) -> int:
        """Returns the number of the record that has a key.

        Raises:
            DatasetError: The record is damaged, or a shard is missing.
            KeyError: No record has it, or several have.
            UsageError: Which feature holds keys is not known.
        """
        if "key" not in self._corpus.content.features:
            raise UsageError(
                f"which feature of {self._corpus.name} holds keys is not known: say it "
                'when opening, with features={"key": …}'
            )
        if not isinstance(key, (str, bytes)):
            raise TypeError(f"keys are str or bytes, got {key!r}")
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
        """Returns `{number: key}` of records whose keys may be shown like this."""
        hashes, order = self._hashes
        first = np.searchsorted(hashes, hash(shown), side="left")
        end = np.searchsorted(hashes, hash(shown), side="right")
        found = ((n, self._files.key(n)) for n in order[first:end].tolist())
        return {number: key for number, key in found if key is not None}

    @functools.cached_property
    def _hashes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The hashes of all keys as they are shown, sorted, and their records."""
        num = self._corpus.num_examples
        hashes = np.fromiter(map(hash, self._shown()), np.int64, num)
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def _shown(self) -> Iterator[str]:
        """Yields every record's key as it is shown; "" where it cannot be told."""
        first = 0
        for shard in self._corpus.shards:
            end = first + shard.num_examples
            try:
                table = read_table(self._corpus, shard, ["key"])
                yield from table.column("key").to_pylist()
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
        name = self._corpus.name
        if numbers:
            several = ", ".join(map(str, numbers))
            return f'records {several} of {name} all have the key "{shown}"'
        near = nearest(shown, filter(None, self._shown()))
        most = f"; those most like it are {', '.join(near)}" if near else ""
        return f'no record of {name} has the key "{shown}"{most}'


def _exact(key: str | bytes) -> bytes:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
