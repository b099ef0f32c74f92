"""Random access to records by number, with checksum verification."""

import os
import threading

import numpy as np

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.contract.schema import display_path
from reader.datasets.record_index import Span
from reader.datasets.record_source import RecordSource
from reader.records.damaged_records import DamagedRecords, to_blame, unusable
from reader.storage.files import is_remote, read_bytes
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
        self._locks: dict[int, threading.Lock] = {}

    def read(self, number: int) -> bytes:
        """Returns the bytes of a record without its framing, with those of layers.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
        """
        parts = list(map(self._read_span, self._spans(number)))
        if None not in parts:
            return self._index.joined(parts)  # type: ignore[arg-type]
        with self._lock:
            # Raises an error with the path, byte offset and key of the damaged record.
            (record,), _ = DamagedRecords(self._index, "raise", self._key)(
                np.array([number])
            )
        return bytes(record)

    def _read_span(self, span: Span) -> bytes | None:
        """Returns the bytes of a record without its framing; None if it is damaged."""
        path, begin, end = span
        try:
            framed = self._read(path, begin, end - begin)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None
        if damage_of(framed, end - begin) is not None:
            return None
        return framed[HEADER.size : -FOOTER.size]

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

    def _read(self, path: str, offset: int, length: int) -> bytes:
        if is_remote(path):
            return read_bytes(path, offset, length)
        return self._files.read(path, offset, length)

    @property
    def _lock(self) -> threading.Lock:
        """Lock of this process for the index, which is not thread-safe.

        Each process has its own lock: after a fork, a lock held by a thread of the
        parent would never be released.
        """
        return self._locks.setdefault(os.getpid(), threading.Lock())
