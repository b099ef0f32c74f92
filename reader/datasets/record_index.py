"""Where records lie: from their numbers to files, offsets and counts.

Records are numbered in the order of shards and, within a shard, as written. The block
index has the offset of every 64th; a shard's text index has them all, and is read when
a record between is needed.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reader.contract.layout import BLOCK_RECORDS
from reader.contract.record import FRAMING_BYTES
from reader.contract.schema import Feature
from reader.shuffle.arrays import Int64s
from reader.shuffle.order import Blocks
from reader.storage.files import is_remote

# Of the offsets of single records that are kept at a time: 8 bytes each.
_MAX_OFFSETS = 8 << 20
# Bytes that one request fetches from a bucket.
_REQUEST_BYTES = 2 << 20


@dataclass(frozen=True)
class ShardFile:
    """A file of records.

    Attributes:
        path: Where it lies.
        num_examples: Records in it.
        num_bytes: Its size.
        checksum: Of its bytes, as the manifest has it; without one, of where its
            records begin; empty if unknown.
        offsets: Finds where each record begins, and the last ends: int64[n + 1].
        has_manifest: Whether one says what it must be.
        features: Of its records, by role; to say what is wrong with one of them.
    """

    path: str
    num_examples: int
    num_bytes: int
    checksum: str
    offsets: Callable[[], Int64s]
    has_manifest: bool = False
    features: Mapping[str, Feature] = dataclasses.field(default_factory=dict)


class Reads(NamedTuple):
    """What to read for some records, and how to put it in order.

    Attributes:
        pieces: int64[n, 5]: shard, offset, records to skip there, records to read,
            bytes to fetch at a time (0 leaves it to the file system).
        order: int64[m]: for each record asked for, its place among those read.
        numbers: int64[k]: of the records as they are read.
        lengths: int64[k]: of these, in bytes, without framing; -1 where unknown.
    """

    pieces: Int64s
    order: Int64s
    numbers: Int64s
    lengths: Int64s


class RecordIndex:
    """The records of some shards.

    Attributes:
        shards: In order.
        blocks: Of neighbours, for the plan.
    """

    def __init__(self, shards: Sequence[ShardFile], block_offsets: Int64s) -> None:
        """Takes the shards, and the offset of every 64th record of each in turn."""
        self.shards = tuple(shards)
        counts = np.array([shard.num_examples for shard in shards], np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        num_blocks = -(-counts // BLOCK_RECORDS)
        self._first_block = np.concatenate([[0], np.cumsum(num_blocks)])
        within = np.arange(self._first_block[-1]) - np.repeat(
            self._first_block[:-1], num_blocks
        )
        first = np.repeat(self._first[:-1], num_blocks) + BLOCK_RECORDS * within
        self.blocks = Blocks(np.append(first, self._first[-1]))
        self._block_offsets = block_offsets
        self._ends = np.array([shard.num_bytes for shard in shards], np.int64)
        self._offsets: OrderedDict[int, Int64s] = OrderedDict()
        self._num_offsets = 0
        remote = any(is_remote(shard.path) for shard in shards)
        # A hop over a record costs little here, and a request in a bucket. Beyond what
        # can be kept, looking up a shard's offsets costs more than it saves.
        self._exact = remote or self.num_records <= _MAX_OFFSETS
        self._request_bytes = _REQUEST_BYTES if remote else 0

    def moved(self, shards: Sequence[ShardFile]) -> "RecordIndex":
        """Returns the same for the same shards, which lie elsewhere."""
        return RecordIndex(shards, self._block_offsets)

    @property
    def num_records(self) -> int:
        """Records in all shards."""
        return int(self._first[-1])

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return int(self._ends.sum())

    @property
    def has_lengths(self) -> bool:
        """Whether `reads` tells the length of every record."""
        return self._exact

    def locate(self, number: int) -> tuple[int, int]:
        """Returns a record's shard, and its place in it."""
        shard = int(np.searchsorted(self._first, number, side="right")) - 1
        return shard, number - int(self._first[shard])

    def reads(self, numbers: Int64s) -> Reads:
        """Returns the reads for some records: in the order of files, no byte twice.

        Neighbours become one read. Where a number is negative, any record does.
        """
        any_ = max(0, int(numbers.max(initial=0)))
        wanted = np.where(numbers < 0, any_, numbers)
        unique, order = np.unique(wanted, return_inverse=True)
        shard = np.searchsorted(self._first, unique, side="right") - 1
        fresh = np.diff(unique, prepend=-2) != 1
        begin = np.flatnonzero(fresh | (np.diff(shard, prepend=-1) != 0))
        count = np.diff(begin, append=len(unique))
        lengths = np.full(len(unique), -1)
        if self._exact:
            begins, ends = self._bounds(unique, shard)
            lengths = ends - begins - FRAMING_BYTES
            offset, skip = begins[begin], np.zeros_like(begin)
            num_bytes = ends[begin + count - 1] - offset
        else:
            block = np.searchsorted(self.blocks.first, unique[begin], side="right") - 1
            offset = self._block_offsets[block]
            skip = unique[begin] - self.blocks.first[block]
            num_bytes = np.zeros_like(offset)
        request = self._request_sizes(num_bytes)
        pieces = np.stack([shard[begin], offset, skip, count, request], axis=1)
        return Reads(pieces, order.astype(np.int64), unique, lengths)

    def _bounds(self, numbers: Int64s, shard: Int64s) -> tuple[Int64s, Int64s]:
        """Returns int64[n] where each record begins, and where it ends."""
        begins, ends = np.empty_like(numbers), np.empty_like(numbers)
        for each in np.unique(shard):
            mine, offsets = shard == each, self.offsets(int(each))
            place = numbers[mine] - self._first[each]
            begins[mine], ends[mine] = offsets[place], offsets[place + 1]
        return begins, ends

    def _request_sizes(self, num_bytes: Int64s) -> Int64s:
        """Returns how many bytes to fetch at a time: equal parts, so none in vain."""
        if not self._request_bytes:
            return np.zeros_like(num_bytes)
        requests: Int64s = -(-num_bytes // self._request_bytes)
        return -(-num_bytes // requests)

    def offsets(self, shard: int) -> Int64s:
        """Returns int64[n + 1]: where a shard's records begin, and the last ends."""
        if shard in self._offsets:
            self._offsets.move_to_end(shard)
            return self._offsets[shard]
        offsets = self._offsets[shard] = self.shards[shard].offsets()
        self._num_offsets += len(offsets)
        while self._num_offsets > _MAX_OFFSETS and len(self._offsets) > 1:
            _, dropped = self._offsets.popitem(last=False)
            self._num_offsets -= len(dropped)
        return offsets
