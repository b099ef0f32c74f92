r"""The files in `index/`, which hold the byte offsets of records.

`index/blocks.bin` is a sequence of little-endian uint64 values: for each shard, in the
manifest's order, the byte offsets of its records 0, 64, 128 and so on.

`index/lengths.bin` is a sequence of little-endian uint32 values: the lengths of all
records of all shards, in the same order. Datasets of earlier versions do not have it.

`index/<shard>.idx` is ASCII text: for each record, in order, a line
`<offset> <length>\n` with both numbers in decimal.

An offset is the position of the first byte of a record's framing, counted from the
first byte of its shard. A length is in bytes and includes the 16 bytes of framing.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from reader.contract.layout import BLOCK_RECORDS, BLOCKS, LENGTHS

_OFFSET = "<u8"
_LENGTH = np.dtype("<u4")
LENGTH_BYTES = _LENGTH.itemsize


def num_blocks(num_examples: int) -> int:
    """Returns the number of 64-record blocks of a shard; the last may be shorter."""
    return -(-num_examples // BLOCK_RECORDS)


def index_files(shards: Iterable[NDArray[np.uint32]]) -> dict[str, bytes]:
    """Returns the files of the index of all shards, as `{file: data}`.

    Args:
        shards: Framed lengths of the records of each shard, in the manifest's order.
    """
    lengths, blocks = [], []
    for of_shard in shards:
        offsets = np.cumsum(of_shard, dtype=np.int64) - of_shard
        lengths.append(dump_lengths(of_shard))
        blocks.append(offsets[::BLOCK_RECORDS].astype(_OFFSET).tobytes())
    return {BLOCKS: b"".join(blocks), LENGTHS: b"".join(lengths)}


def parse_blocks(data: bytes) -> NDArray[np.int64]:
    """Returns the block offsets of all shards, int64[num_blocks].

    Raises:
        ValueError: The length of the data is not a multiple of 8 bytes.
    """
    return np.frombuffer(data, _OFFSET).astype(np.int64)


def dump_lengths(lengths: Sequence[int] | NDArray[np.uint32]) -> bytes:
    """Serializes the framed lengths of records, in order, as `lengths.bin`."""
    return np.asarray(lengths, _LENGTH).tobytes()


def parse_lengths(data: bytes | NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Returns the framed lengths of records, uint32[n], as a view of the data.

    Raises:
        ValueError: The length of the data is not a multiple of 4 bytes.
    """
    return np.frombuffer(data, _LENGTH)


def dump_text_index(offsets: Sequence[int], lengths: Sequence[int]) -> bytes:
    """Serializes the offsets and framed lengths of a shard's records as text."""
    rows = zip(offsets, lengths, strict=True)
    return "".join(f"{offset} {length}\n" for offset, length in rows).encode()


def parse_text_index(data: bytes) -> NDArray[np.int64]:
    """Returns int64[n + 1], the offsets of n records and the end of the last one.

    Raises:
        ValueError: The text does not consist of pairs of numbers.
    """
    rows = np.fromstring(data.decode("ascii"), np.int64, sep=" ").reshape(-1, 2)
    offsets: NDArray[np.int64] = np.append(rows[:, 0], rows[-1:].sum())
    return offsets
