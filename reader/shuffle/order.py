"""The shuffle order of an epoch, computed from the block index only.

An epoch's order is a pure function of (blocks, seed, epoch, rounds per window):

1. The blocks of the index, each of up to 64 neighboring records, are permuted and
   concatenated into a ring.
2. The ring is cut into S streams, by default 192, whose lengths differ by at most one
   record. The first cut is at an offset that differs in each epoch. Which piece of the
   ring becomes which stream is a permutation that differs in each epoch.
3. Each stream is shuffled within windows. A window holds as many consecutive records
   of each stream as it has rounds.
4. The order takes one record of each stream, round-robin: position p belongs to stream
   p mod S.

`shares` computes which positions a host reads. docs/order.md has a drawing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.contract.layout import BLOCK_RECORDS
from reader.shuffle.arrays import Int64s, UInt32s, UInt64s
from reader.shuffle.randomness import permutation, random_bits, random_key
from reader.shuffle.shares import Share, Stretch, cells_of, windows_of

# Version of everything that determines an order. Resuming from a state of another
# version is rejected.
PLAN_VERSION = 1

# The default number of streams. More streams mix better, but need more and smaller
# reads: docs/performance-notes.md#shuffling.
NUM_STREAMS = 192

# Record number of a padding position in a batch.
NO_RECORD = -1


class Blocks(NamedTuple):
    """Blocks of neighboring records. Records are numbered in the order written.

    Attributes:
        first: int64[num_blocks + 1], number of each block's first record, then the end
            of the last block.
    """

    first: Int64s

    @property
    def num_records(self) -> int:
        """Number of records in all blocks."""
        return int(self.first[-1] - self.first[0])

    def of_records(self, numbers: Int64s) -> Int64s:
        """Returns int64[n], the block that each record is in."""
        return np.searchsorted(self.first, numbers, side="right") - 1

    def blocks_of(self, epoch: int) -> "Blocks":
        """Returns these blocks, which are those of each epoch."""
        return self


class Numbering(Protocol):
    """Records that are numbered in the order written, block by block.

    Attributes:
        num_records: Number of records in each epoch.
    """

    @property
    def num_records(self) -> int: ...  # noqa: D102

    def blocks_of(self, epoch: int) -> Blocks:
        """Returns the blocks of an epoch."""


class BlockPlaces(NamedTuple):
    """Where the blocks of an epoch are: all of its streams, end to end.

    Attributes:
        begins: uint32 or int64[num_blocks], position of each block's first record. A
            block may continue at position 0.
        blocks: The blocks.
        cuts: int64[num_streams], position of the first record of each stream, sorted.
        streams: int64[num_streams], number of the stream that begins at each cut.
    """

    begins: Int64s | UInt32s
    blocks: Blocks
    cuts: Int64s
    streams: Int64s

    def uses(self, blocks: Int64s) -> tuple[Int64s, Int64s, NDArray[np.bool_]]:
        """Returns where the records of blocks are.

        Args:
            blocks: int64[n], numbers of blocks.

        Returns:
            Stream of each record, its position in the stream, and whether there is such
            a record, each [n, 64].
        """
        record = np.arange(BLOCK_RECORDS)
        first = self.blocks.first
        counts = first[blocks + 1] - first[blocks]
        at = self.begins[blocks].astype(np.int64)[:, np.newaxis] + record
        at %= max(1, self.blocks.num_records)
        cut = np.searchsorted(self.cuts, at, side="right") - 1
        return self.streams[cut], at - self.cuts[cut], record < counts[:, np.newaxis]


class EpochOrder:
    """The order of one epoch.

    Attributes:
        lengths: int64[num_streams], number of records of each stream.
    """

    def __init__(
        self, blocks: Blocks, seed: int | str, epoch: int, num_streams: int
    ) -> None:
        """Permutes the blocks, concatenates them and cuts them into streams.

        Args:
            blocks: Blocks of the index.
            seed: Seed of all orders.
            epoch: Number of the epoch, from 0.
            num_streams: Number of streams.
        """
        self._blocks = blocks
        self._order = permutation(
            random_key("blocks", seed, epoch), len(blocks.first) - 1
        ).astype(np.int32)
        counts = np.diff(blocks.first)[self._order]
        self._line = np.concatenate([[0], np.cumsum(counts)])
        # The first cut is anywhere on the ring. If cuts were only between blocks, a
        # record would be near the same records in every epoch.
        self._shift = random_key("shift", seed, epoch) % max(1, blocks.num_records)
        self._window_key = random_key("window", seed, epoch)
        each, more = divmod(blocks.num_records, num_streams)
        self.lengths = each + (np.arange(num_streams) < more)
        # Numbers the streams in a random order, since neighboring pieces of the ring
        # may share a block.
        parts = permutation(random_key("streams", seed, epoch), num_streams)
        ends = np.cumsum(self.lengths[parts])
        self._starts = np.empty(num_streams, np.int64)
        self._starts[parts] = ends - self.lengths[parts]

    def stream_part(self, stream: Int64s, place: Int64s) -> Int64s:
        """Returns the numbers of records in streams, before shuffling in windows.

        Args:
            stream: int64[...], stream of each record.
            place: int64[...], position of each record in its stream.
        """
        at = (self._starts[stream] + place + self._shift) % self._line[-1]
        block = np.searchsorted(self._line, at, side="right") - 1
        within = at - self._line[block]
        numbers: Int64s = self._blocks.first[self._order[block]] + within
        return numbers

    def block_places(self) -> BlockPlaces:
        """Returns where each block is; in 4 bytes a block up to 2³² records."""
        num = max(1, self._blocks.num_records)
        begins: Int64s | UInt32s = np.empty(len(self._order), np.int64)
        if num < 1 << 32:
            begins = np.empty(len(self._order), np.uint32)
        begins[self._order] = (self._line[:-1] - self._shift) % num
        # A stream without records would hide the one that begins at the same cut.
        streams = np.flatnonzero(self.lengths)
        streams = streams[np.argsort(self._starts[streams])]
        return BlockPlaces(begins, self._blocks, self._starts[streams], streams)

    def window_bits(self, numbers: Int64s) -> UInt64s:
        """Returns the sort keys that shuffle the records of a window."""
        return random_bits(self._window_key, numbers)


class Window(NamedTuple):
    """Consecutive records of one host's streams, in order.

    Attributes:
        numbers: int64[n], record numbers; `NO_RECORD` at padding positions.
        columns: Number of streams; the records belong to them round-robin.
        keep: int64[k], sorted indices of the records to read. The others only take part
            in sorting the window.
        number: Number of the window in the epoch.
        epochs: int64[n], epoch of each record.
    """

    numbers: Int64s
    columns: int
    keep: Int64s
    number: int
    epochs: Int64s

    def cut(self) -> "Window":
        """Returns the window with only the records of `keep`."""
        return self._replace(
            numbers=self.numbers[self.keep],
            epochs=self.epochs[self.keep],
            keep=np.arange(len(self.keep)),
        )


class ShuffledOrder:
    """The shuffle order, which differs in each epoch.

    Attributes:
        num_records: Number of records in an epoch.
        rounds: Number of records of each stream in a window.
        num_streams: Number of streams.
        window_records: Number of records in a window, over all hosts.
        epoch: Function from the number of an epoch to its `EpochOrder`.
    """

    def __init__(
        self,
        numbering: Numbering,
        seed: int | str,
        rounds: int,
        num_streams: int = NUM_STREAMS,
    ) -> None:
        """Creates the order.

        Args:
            numbering: Records, such as the blocks of the index.
            seed: Seed of all orders.
            rounds: Number of records of each stream in a window.
            num_streams: Number of streams.
        """
        self.num_records, self.num_streams = numbering.num_records, num_streams
        self.rounds = rounds
        self.window_records = rounds * num_streams
        # Keeps the last two epochs, since a window may span the end of an epoch.

        def make(epoch: int) -> EpochOrder:
            return EpochOrder(numbering.blocks_of(epoch), seed, epoch, num_streams)

        self._make, self.epoch = make, lru_cache(2)(make)

    def block_places(self, epoch: int) -> BlockPlaces:
        """Returns where each block is in an epoch, which may be far ahead."""
        return self._make(epoch).block_places()

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        order = self.epoch(stretch.epoch)
        size = self.window_records
        for begin in windows_of(stretch, size):
            mine = share.positions(stretch, begin, begin + size, self.num_streams)
            if len(mine):
                streams, keep = cells_of(mine - begin, self.num_streams)
                numbers = self._window(order, begin // self.num_streams, streams)
                num = max(np.count_nonzero(numbers != NO_RECORD), keep[-1] + 1)
                epochs = np.full(num, stretch.epoch)
                window = numbers[:num], len(streams), keep, begin // size, epochs
                yield Window(*window)

    def _window(self, order: EpochOrder, round_: int, streams: Int64s) -> Int64s:
        """Returns the records of streams in a window, round-robin, `NO_RECORD` last."""
        rounds = np.arange(round_, round_ + self.rounds)
        stream, place = np.meshgrid(streams, rounds, indexing="ij")
        there = place < order.lengths[stream]
        numbers = np.full_like(place, NO_RECORD)
        bits = np.zeros(place.shape, np.uint64)
        numbers[there] = order.stream_part(stream[there], place[there])
        bits[there] = order.window_bits(numbers[there])
        # Missing records sort last: some streams are a record shorter than others.
        by_bits = np.lexsort((bits, ~there), axis=1)
        return np.take_along_axis(numbers, by_bits, axis=1).T.ravel()


@dataclass(frozen=True)
class WrittenOrder:
    """The order in which records were written; each host reads a slice of each batch.

    Attributes:
        num_records: Number of records in an epoch.
        batch_size: Records per batch, over all hosts.
        batches: Number of batches in a window.
    """

    num_records: int
    batch_size: int
    batches: int

    @property
    def window_records(self) -> int:
        """Number of records in a window, over all hosts."""
        return self.batch_size * self.batches

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        size = self.window_records
        for begin in range(stretch.start, stretch.stop, size):
            positions = np.arange(begin, min(begin + size, stretch.stop))
            numbers = np.where(positions < self.num_records, positions, NO_RECORD)
            of_hosts = numbers.reshape(
                -1, share.host_count, self.batch_size // share.host_count
            )
            mine = of_hosts[:, share.host_index].ravel()
            epochs = np.full(len(mine), stretch.epoch)
            yield Window(mine, 1, np.arange(len(mine)), begin // size, epochs)
