"""Random access to records by number, with checksum verification."""

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from reader.contract.errors import DatasetError, file_of
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.contract.schema import display_path
from reader.datasets.record_index import Span
from reader.datasets.record_source import RecordSource
from reader.records.damaged_records import DamagedRecords, to_blame, unusable
from reader.storage.files import is_remote
from reader.storage.merged_reads import read_merged
from reader.storage.open_files import OpenFiles
from reader.storage.tfrecord_file import damage_of


class RecordFiles:
    """Files of a record source; safe to share across threads and forked processes."""

    def __init__(self, source: RecordSource) -> None:
        """Creates the files of a record source; files are opened on first use."""
        self._index = source.index()
        key = source.record_schema.features.get("key")
        self._key = None if key is None else key.key
        self._files = OpenFiles()
        self._in_buckets = any(is_remote(file.path) for file in self._index.files)
        self._locks: dict[int, threading.Lock] = {}

    def read(self, number: int) -> bytes:
        """Returns the bytes of a record without its framing, with those of layers.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
        """
        spans = self._spans(number)
        return self._record(number, spans, self._framed(spans))

    def read_each(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yields the bytes of records, as `read` returns them.

        Records in buckets are requested at the same time, and are in memory together.

        Raises:
            DatasetError: A record is damaged, or a shard is missing.
        """
        if not self._in_buckets:
            yield from map(self.read, numbers)
            return
        spans = list(map(self._spans, numbers))
        framed = iter(self._framed([span for each in spans for span in each]))
        for number, each in zip(numbers, spans, strict=True):
            yield self._record(number, each, list(islice(framed, len(each))))

    def _record(
        self, number: int, spans: Sequence[Span], framed: Sequence[bytes]
    ) -> bytes:
        """Returns a record without its framing, with what layers add to it.

        Args:
            number: Number of the record.
            spans: Where the record is, and then that of each layer.
            framed: The bytes there.
        """
        lengths = (span.end - span.begin for span in spans)
        if all(map(_is_intact, framed, lengths)):
            return self._index.joined(
                [part[HEADER.size : -FOOTER.size] for part in framed]
            )
        with self._lock:
            # Raises an error with the path, byte offset and key of the damaged record.
            (record,), _ = DamagedRecords(self._index, "raise", self._key)(
                np.array([number])
            )
        return bytes(record)

    def _framed(self, spans: Sequence[Span]) -> list[bytes]:
        """Returns the bytes of records with their framing."""
        try:
            if self._in_buckets:
                return read_merged(spans)
            return [
                self._files.read(path, begin, end - begin) for path, begin, end in spans
            ]
        except FileNotFoundError as error:
            raise DatasetError(f"{file_of(error)} is missing: restore it") from None

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
        """Returns the key in the bytes of a record; None if there is none."""
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


def _is_intact(framed: bytes, length: int) -> bool:
    return damage_of(framed, length) is None
