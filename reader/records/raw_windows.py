"""Reads windows of records with raw pixels into one contiguous array.

TensorFlow's own input path copies each record eight times on its way to a batch. This
module reads the bytes of a window once, into one array. Only the requested part of each
image is copied from that array: docs/performance.md#raw-pixels.
"""

import os
import weakref
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reader.contract.record import FOOTER, FRAMING_BYTES, HEADER, Bytes, find_value
from reader.datasets.record_index import RecordIndex
from reader.records.damaged_records import DamagedRecords
from reader.records.memory import Arrays, take
from reader.shuffle.arrays import Int64s
from reader.storage.tfrecord_file import damage_of


class RawRecords:
    """Reads windows of records and verifies all checksums."""

    def __init__(
        self,
        index: RecordIndex,
        damaged: DamagedRecords,
        key: str,
        arrays: weakref.ref[Arrays],
    ) -> None:
        """Creates the reader.

        Args:
            index: Index of local files; it must know the length of each record.
            damaged: Reader of single records, used for windows with damaged records.
            key: Key of the feature that holds the pixels.
            arrays: Pool of arrays to read windows into.
        """
        self._index, self._damaged, self._key = index, damaged, key.encode()
        self._arrays = arrays

    def __call__(
        self, pieces: Int64s, numbers: Int64s, lengths: Int64s
    ) -> tuple[Bytes, NDArray[np.object_], Int64s, Int64s, NDArray[np.bool_]]:
        """Reads a window and finds the pixels of each record.

        Args:
            pieces: int64[m, 5], as in `Reads`.
            numbers: int64[n], record numbers in the order read.
            lengths: int64[n], record lengths in bytes, without framing.

        Returns:
            uint8[k], bytes of the window; object[n], serialized records without their
            pixels; int64[n], byte offset of each record's pixels in the window;
            int64[n], size of the pixels in bytes; bool[n], whether each record is
            intact.

        Raises:
            DatasetError: A record is damaged and `on_corrupt` is `"raise"`, or no
                record of its block is intact.
        """
        intact = np.ones(len(numbers), np.bool_)
        held = self._read(pieces, lengths + FRAMING_BYTES)
        if held is None:
            records, intact = self._damaged(numbers)
            held, lengths = _laid_out(records)
        records, begins, sizes = self._found(held, lengths + FRAMING_BYTES)
        return held, records, begins, sizes, intact

    def _read(self, pieces: Int64s, lengths: Int64s) -> Bytes | None:
        """Returns the framed records, concatenated; None if any is damaged."""
        held = take(self._arrays, int(lengths.sum()))
        view, place, first = held.data, 0, 0
        for shard, offset, _, count, _ in pieces.tolist():
            num_bytes = int(lengths[first : first + count].sum())
            first += count
            path = self._index.shards[shard].path
            if not _fill(view[place : place + num_bytes], path, offset):
                return None
            place += num_bytes
        intact = all(damage_of(one, len(one)) is None for one in _each(held, lengths))
        return held if intact else None

    def _found(
        self, held: Bytes, lengths: Int64s
    ) -> tuple[NDArray[np.object_], Int64s, Int64s]:
        records, begins = np.empty(len(lengths), object), np.empty_like(lengths)
        sizes = np.empty_like(lengths)
        ends = np.cumsum(lengths)
        for n, framed in enumerate(_each(held, lengths)):
            found = find_value(framed.data[HEADER.size : -FOOTER.size], self._key)
            records[n] = found.rest
            begins[n] = ends[n] - lengths[n] + HEADER.size + found.begin
            sizes[n] = found.end - found.begin
        return records, begins, sizes


def _laid_out(records: NDArray[np.object_]) -> tuple[Bytes, Int64s]:
    """Returns records, concatenated and framed with zeros, and their lengths."""
    head, foot = bytes(HEADER.size), bytes(FOOTER.size)
    data = b"".join(part for record in records for part in (head, record, foot))
    held = np.frombuffer(data, np.uint8)
    return held, np.array([len(record) for record in records], np.int64)


def _fill(view: memoryview, path: str, offset: int) -> bool:
    """Fills a view from a file; returns False if the file is missing or too short."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # `DamagedRecords` reports the error.
    try:
        place = 0
        while place < len(view):
            got = os.preadv(file, [view[place:]], offset + place)
            if not got:
                return False
            place += got
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _each(held: Bytes, lengths: Int64s) -> Iterator[Bytes]:
    begin = 0
    for length in lengths.tolist():
        yield held[begin : begin + length]
        begin += length
