"""Pieces of blocks, which the cache keeps, and which of them it has."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.contract.layout import BLOCK_RECORDS
from reader.contract.record import FRAMING_BYTES, HEADER
from reader.shuffle.arrays import Int64s
from reader.storage.tfrecord_file import damage_of


class Piece(NamedTuple):
    """Consecutive records within one block of 64 records.

    Attributes:
        file: Index of the file in `RecordIndex.files`.
        begin: Byte offset of the first record, framing included.
        end: Byte offset after the last record.
        block: Number of the block in the index; a layer's is that of its dataset.
        ends: Byte offset after each record; empty if that is not needed.
        target: Byte offset in memory to put the piece at; 0 if it is not put there.
    """

    file: int
    begin: int
    end: int
    block: int
    ends: Sequence[int] = ()
    target: int = 0


class Kept(NamedTuple):
    """A part of a shard in a file of the cache.

    Attributes:
        begin: Byte offset of its first byte in the shard.
        end: Byte offset in the shard after its last byte.
        offset: Byte offset of its first byte in the file of the cache.
    """

    begin: int
    end: int
    offset: int


def dump_kept(parts: Sequence[Kept]) -> bytes:
    """Returns the bytes that a ledger holds of the parts of a block."""
    return np.array(parts, "<i8").tobytes()


def parse_kept(data: bytes) -> list[Kept]:
    """Inverts `dump_kept`; the parts are sorted, and none overlap."""
    return [Kept(*row) for row in np.frombuffer(data, "<i8").reshape(-1, 3).tolist()]


def found_in(parts: Sequence[Kept], begin: int, end: int) -> list[Kept] | None:
    """Returns the parts that make up a range; None if one is missing."""
    found = []
    for part in parts:
        if part.end <= begin:
            continue
        if part.begin > begin:
            break
        stop = min(part.end, end)
        found.append(Kept(begin, stop, part.offset + begin - part.begin))
        begin = stop
        if begin == end:
            return found
    return None


def missing_from(parts: Sequence[Kept], begin: int, end: int) -> list[tuple[int, int]]:
    """Returns the ranges of a range that are in none of the parts."""
    missing = []
    for part in parts:
        if part.begin < end and part.end > begin:
            if part.begin > begin:
                missing.append((begin, part.begin))
            begin = part.end
    if begin < end:
        missing.append((begin, end))
    return missing


def is_intact(data: bytes) -> bool:
    """Returns whether bytes are whole records whose checksums are right."""
    framed, offset = np.frombuffer(data, np.uint8), 0
    while offset < len(data):
        if offset + HEADER.size > len(data):
            return False
        length = HEADER.unpack_from(data, offset)[0] + FRAMING_BYTES
        end = offset + length
        if end > len(data) or damage_of(framed[offset:end], length) is not None:
            return False
        offset = end
    return True


def first_blocks(counts: Sequence[int], num_layers: int) -> Int64s:
    """Returns the number of the first block of each file, layers after the shards.

    Args:
        counts: Number of records of each shard.
        num_layers: Number of layers.
    """
    num_blocks = -(-np.array(counts, np.int64) // BLOCK_RECORDS)
    return np.tile(np.cumsum(num_blocks) - num_blocks, num_layers + 1)
