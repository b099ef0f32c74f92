"""Records by their number, each read where it lies and checked."""

import functools
import os
import threading
from collections.abc import Callable

import numpy as np

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.contract.schema import display_path
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_source import RecordSource
from reader.records.damaged_records import DamagedRecords, unusable
from reader.storage.files import is_remote, read_bytes
from reader.storage.tfrecord_file import damage_of

# A process may have 1,024 files open, or 256, and has others as well.
_MAX_OPEN_FILES = 128


class RecordFiles:
    """The files of a corpus, for threads and forked processes to share."""

    def __init__(self, source: RecordSource) -> None:
        """Takes where the records lie."""
        self._index = RecordIndex(source.shards, source.block_offsets)
        key = source.record_schema.features.get("key")
        self._key = None if key is None else key.key
        # A file that is dropped here is closed when nobody reads from it any more.
        self._open = functools.lru_cache(_MAX_OPEN_FILES)(_File)
        self._locks: dict[int, threading.Lock] = {}

    def read(self, number: int) -> bytes:
        """Returns a record without its framing.

        Raises:
            DatasetError: It is damaged, or its shard is missing.
        """
        path, begin, end = self._place(number)
        try:
            framed = self._read(path, begin, end - begin)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None
        if damage_of(framed, end - begin) is None:
            return framed[HEADER.size : -FOOTER.size]
        with self._lock:
            # Says what is damaged, by name.
            (record,), _ = DamagedRecords(self._index, "raise", self._key)(
                np.array([number])
            )
        return bytes(record)

    def key(self, number: int) -> bytes | None:
        """Returns a record's key; None if it has none.

        Raises:
            DatasetError: As `read`.
        """
        return self._key_in(self.read(number))

    def unusable(self, number: int, record: bytes, error: Exception) -> DatasetError:
        """Returns what to raise of an intact record that nothing can be made of."""
        path, begin, _ = self._place(number)
        key = self._key_in(record)
        shown = None if key is None else display_path(key)
        return unusable(path, begin, shown, str(error))

    def _key_in(self, record: bytes) -> bytes | None:
        try:
            values = parse_example(record)
        except ValueError:
            return None
        match values.get(self._key or ""):
            case [bytes() as key]:
                return key
        return None

    def _place(self, number: int) -> tuple[str, int, int]:
        """Returns a record's file, and where it begins and ends there, in bytes."""
        shard, place = self._index.locate(number)
        with self._lock:
            offsets = self._index.offsets(shard)
        begin, end = offsets[place : place + 2].tolist()
        return self._index.shards[shard].path, begin, end

    def _read(self, path: str, offset: int, length: int) -> bytes:
        if is_remote(path):
            return read_bytes(path, offset, length)
        file = self._open(path)  # Held while it is read, lest it be closed.
        return os.pread(file.descriptor, length, offset)

    @property
    def _lock(self) -> threading.Lock:
        """Guards the index, which is not made for threads.

        Each process has its own: a thread that holds one is not there after a fork.
        """
        return self._locks.setdefault(os.getpid(), threading.Lock())


class _File:
    """A file that is open for as long as somebody has it."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)

    # Bound here: when Python ends, the name `os` may be gone before the file is.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.descriptor >= 0:
            close(self.descriptor)
