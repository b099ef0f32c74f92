"""Random access to records by number, with checksum verification."""

import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.contract.schema import display_path
from reader.datasets.record_index import ShardFile, Span
from reader.datasets.record_source import RecordSource
from reader.range_cache.range_cache import RangeCache
from reader.records.damaged_records import DamagedRecords, to_blame, unusable
from reader.records.fetched_records import FetchedRecords
from reader.storage.files import is_remote
from reader.storage.open_files import OpenFiles
from reader.storage.tfrecord_file import damage_of


class RecordFiles:
    """Files of a record source; safe to share across threads and forked processes."""

    def __init__(
        self,
        source: RecordSource,
        cache: str | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """Creates the files of a record source; files are opened on first use.

        Args:
            source: Records to read.
            cache: Local folder for copies of the files; None to read them in place.
            cache_bytes: Most space of the cache, which then keeps ranges of the files
                in buckets, in bytes; None to copy whole files.

        Raises:
            DatasetError: A file cannot be copied.
            UsageError: The cache cannot be used, or a file has no manifest.
        """
        self._index = source.index()
        if cache is not None and cache_bytes is None:
            self._index = self._index.moved(_copies(self._index.files, cache))
        key = source.record_schema.features.get("key")
        self._key = None if key is None else key.key
        self._files = OpenFiles()
        self._locks: dict[int, threading.Lock] = {}
        self._fetch = None
        if any(is_remote(file.path) for file in self._index.files):
            ranges = None
            if cache is not None and cache_bytes is not None:
                ranges = RangeCache(cache, cache_bytes, self._index)
            self._fetch = FetchedRecords(self._index, ranges)

    def read(self, number: int) -> bytes:
        """Returns the bytes of a record without its framing, with those of layers.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
            OSError: A file cannot be read.
        """
        if self._fetch is not None:
            return next(self.read_each([number]))
        spans = self._spans(number)
        framed = [self._read_span(*span) for span in spans]
        return self._record(number, framed, [span.end - span.begin for span in spans])

    def read_each(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yields the bytes of records, as `read` returns them.

        Records in buckets are requested at the same time, and are in memory together.

        Raises:
            DatasetError: A record is damaged, or a shard is missing.
            OSError: A file cannot be read.
        """
        if self._fetch is None:
            yield from map(self.read, numbers)
            return
        with self._lock:
            places = self._index.places(np.array(numbers, np.int64))
        lengths = (places[:, 3::3] - places[:, 2::3]).tolist()
        yield from map(self._record, numbers, self._fetch(places), lengths)

    def _record(
        self, number: int, framed: Sequence[bytes], lengths: Sequence[int]
    ) -> bytes:
        """Returns a record without its framing, with what layers add to it.

        Args:
            number: Number of the record.
            framed: The record and its part of each layer, with their framing.
            lengths: Lengths that these have according to the index.
        """
        for part, length in zip(framed, lengths, strict=True):
            if damage_of(part, length) is not None:
                return self._damaged(number)
        return self._index.joined([part[HEADER.size : -FOOTER.size] for part in framed])

    def _damaged(self, number: int) -> bytes:
        """Reads a record again; raises an error with its path, byte offset and key."""
        with self._lock:
            (record,), _ = DamagedRecords(self._index, "raise", self._key)(
                np.array([number])
            )
        return bytes(record)

    def _read_span(self, path: str, begin: int, end: int) -> bytes:
        try:
            return self._files.read(path, begin, end - begin)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None

    def key(self, number: int) -> bytes | None:
        """Returns the key of a record; None if the record has no key.

        Raises:
            DatasetError: As for `read`.
        """
        return self.key_in(self.read(number))

    def dataset_of(self, number: int) -> int:
        """Returns the number of the dataset that a record belongs to."""
        return int(self._index.datasets_of(np.array([number]))[0])

    def unusable(self, number: int, record: bytes, error: Exception) -> DatasetError:
        """Returns the error for an intact record that cannot be parsed or decoded.

        Args:
            number: Number of the record.
            record: Bytes of the record, without framing.
            error: Error of parsing or decoding the record.
        """
        span, found = to_blame(self._index, self._spans(number))
        key = self.key_in(record)
        shown = None if key is None else display_path(key)
        return unusable(span.path, span.begin, shown, found or str(error))

    def key_in(self, record: bytes) -> bytes | None:
        """Returns the key in the bytes of a record; None if it has no key."""
        try:
            values = parse_example(record)
        except ValueError:
            return None
        match values.get(self._key or ""):
            case [bytes() as key]:
                return key
        return None

    def _spans(self, number: int) -> list[Span]:
        with self._lock:
            return self._index.spans(number)

    @property
    def _lock(self) -> threading.Lock:
        """Lock of this process for the index, which is not thread-safe.

        Each process has its own lock: after a fork, a lock held by a thread of the
        parent would never be released.
        """
        return self._locks.setdefault(os.getpid(), threading.Lock())


def _copies(files: Sequence[ShardFile], folder: str) -> list[ShardFile]:
    from reader.datasets.shard_cache import keep_copies  # It loads a progress bar.

    return keep_copies(files, folder)
