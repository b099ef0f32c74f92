"""The bytes of `index/`: where records begin.

`index/blocks.bin` holds, for each shard in the manifest's order, the offset of every
64th record as a little-endian uint64. `index/<shard>.idx` is text, a line
`"<offset> <length>"` per record; lengths include the 16 bytes of framing. Both count
from the first byte of the shard.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reader.contract.layout import BLOCK_RECORDS

_OFFSET = "<u8"


def num_blocks(num_examples: int) -> int:
    """Returns how many blocks of 64 records a shard has; the last may be shorter."""
    return -(-num_examples // BLOCK_RECORDS)


def dump_blocks(offsets: Sequence[int]) -> bytes:
    """Returns `blocks.bin` of the block offsets of all shards, in order."""
    return np.asarray(offsets, _OFFSET).tobytes()


def parse_blocks(data: bytes) -> NDArray[np.int64]:
    """Returns int64[num_blocks]: the block offsets of all shards.

    Raises:
        ValueError: The data does not end with a whole number.
    """
    return np.frombuffer(data, _OFFSET).astype(np.int64)


def dump_text_index(offsets: Sequence[int], lengths: Sequence[int]) -> bytes:
    """Returns a shard's text index: offset and framed length of each record."""
    rows = zip(offsets, lengths, strict=True)
    return "".join(f"{offset} {length}\n" for offset, length in rows).encode()


def parse_text_index(data: bytes) -> NDArray[np.int64]:
    """Returns int64[n + 1]: where each of n records begins, and where the last ends.

    Raises:
        ValueError: A line does not hold two numbers.
    """
    rows = np.fromstring(data.decode("ascii"), np.int64, sep=" ").reshape(-1, 2)
    offsets: NDArray[np.int64] = np.append(rows[:, 0], rows[-1:].sum())
    return offsets
