"""Which records, in which order: arithmetic on the block index, and nothing else.

An epoch's order is a pure function of (blocks, seed, epoch, rounds in a window):

1. The index's blocks, each up to 64 neighbours, are permuted and laid end to end, as a
   ring.
2. From a place of its own each epoch, the ring is cut into `NUM_STREAMS` streams,
   equal but for one record.
3. Each stream is shuffled inside windows of so many of its own records.
4. The order takes one record of each stream in turn: position p is of stream
   p mod `NUM_STREAMS`.

Host h of H takes the positions p with p mod H = h. Where H divides `NUM_STREAMS` it
therefore owns whole streams and reads no other bytes, and where it divides the batch
size it finds as many records in any batch as every other host. docs/reading.md has a
drawing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s, UInt64s
from reader.shuffle.randomness import permutation, random_bits, random_key

# Of all that decides an order. A state of another version is refused.
PLAN_VERSION = 1

# Hosts may be any divisor: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 192. More
# streams mix better and cost more and smaller reads: docs/performance.md#shuffling.
NUM_STREAMS = 192

# What stands for no record, where a batch is filled up.
NO_RECORD = -1


class Blocks(NamedTuple):
    """Blocks of neighbouring records, numbered in the order written.

    Attributes:
        first: int64[num_blocks + 1]: the number of each block's first record; the last
            is where the numbers end.
    """

    first: Int64s

    @property
    def num_records(self) -> int:
        """Records in all blocks."""
        return int(self.first[-1] - self.first[0])


class EpochOrder:
    """The order of one epoch.

    Attributes:
        lengths: int64[NUM_STREAMS]: records of each stream.
    """

    def __init__(self, blocks: Blocks, seed: int | str, epoch: int) -> None:
        """Permutes the blocks, lays them end to end, and cuts the line."""
        self._blocks = blocks
        self._order = permutation(
            random_key("blocks", seed, epoch), len(blocks.first) - 1
        ).astype(np.int32)
        counts = np.diff(blocks.first)[self._order]
        self._line = np.concatenate([[0], np.cumsum(counts)])
        # The line is a ring, entered anywhere: if streams were always whole blocks, a
        # record would have the same company in every epoch.
        self._shift = random_key("shift", seed, epoch) % max(1, blocks.num_records)
        self._window_key = random_key("window", seed, epoch)
        each, more = divmod(blocks.num_records, NUM_STREAMS)
        self.lengths = each + (np.arange(NUM_STREAMS) < more)
        # Which part of the line a stream is has an order of its own: neighbours on
        # the line may share a block.
        parts = permutation(random_key("streams", seed, epoch), NUM_STREAMS)
        ends = np.cumsum(self.lengths[parts])
        self._starts = np.empty(NUM_STREAMS, np.int64)
        self._starts[parts] = ends - self.lengths[parts]

    def stream_part(self, stream: Int64s, place: Int64s) -> Int64s:
        """Returns record numbers by their places in streams, before shuffling."""
        at = (self._starts[stream] + place + self._shift) % self._line[-1]
        block = np.searchsorted(self._line, at, side="right") - 1
        within = at - self._line[block]
        numbers: Int64s = self._blocks.first[self._order[block]] + within
        return numbers

    def window_bits(self, numbers: Int64s) -> UInt64s:
        """Returns what records of a window are sorted by."""
        return random_bits(self._window_key, numbers)


class Window(NamedTuple):
    """Consecutive records of one host, in order.

    Attributes:
        numbers: int64[n]: of the records; `NO_RECORD` where a batch is filled up.
        columns: Records that are one after the other belong to so many streams in
            turn.
        keep: Which of them are meant, from and to; the others only take part where
            the window is sorted.
        number: Which window of the epoch it is.
        epochs: int64[n]: the epoch that each record is read in.
    """

    numbers: Int64s
    columns: int
    keep: tuple[int, int]
    number: int
    epochs: Int64s

    def cut(self) -> "Window":
        """Returns the window without what only takes part in sorting."""
        start, stop = self.keep
        numbers, epochs = self.numbers[start:stop], self.epochs[start:stop]
        return self._replace(numbers=numbers, epochs=epochs, keep=(0, len(numbers)))


@dataclass(frozen=True)
class Share:
    """A host's share of every batch.

    Attributes:
        host_index: 0 to `host_count` - 1.
        host_count: Divides `NUM_STREAMS` and the batch size.
    """

    host_index: int = 0
    host_count: int = 1

    @property
    def streams(self) -> Int64s:
        """Those that the host reads."""
        return np.arange(self.host_index, NUM_STREAMS, self.host_count)

    def count(self, position: int) -> int:
        """Returns how many positions below this one are the host's."""
        return max(0, -(-(position - self.host_index) // self.host_count))


class Stretch(NamedTuple):
    """Consecutive positions of one epoch; all it holds is whole batches.

    Attributes:
        epoch: Counted from 0.
        start: First position.
        stop: Position behind the last; beyond the epoch's records where the last batch
            is filled up.
    """

    epoch: int
    start: int
    stop: int


class ShuffledOrder:
    """A new order each epoch.

    Attributes:
        num_records: Positions of an epoch.
        rounds: Records of each stream in a window.
    """

    def __init__(self, blocks: Blocks, seed: int | str, rounds: int) -> None:
        """Takes the blocks, the seed of all orders, and the size of a window."""
        self.num_records = blocks.num_records
        self.rounds = rounds
        # The latest ones: a window may reach over the end of an epoch.
        self.epoch = lru_cache(2)(lambda epoch: EpochOrder(blocks, seed, epoch))

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        order = self.epoch(stretch.epoch)
        num_streams = len(share.streams)
        size = self.rounds * NUM_STREAMS
        for begin in range(stretch.start // size * size, stretch.stop, size):
            numbers = self._window(order, begin // NUM_STREAMS, share)
            first = share.count(begin)
            start = max(0, share.count(stretch.start) - first)
            stop = min(share.count(begin + size), share.count(stretch.stop)) - first
            fill = np.full(max(0, stop - len(numbers)), NO_RECORD)
            if start < stop:
                numbers = np.concatenate([numbers, fill])
                epochs = np.full(len(numbers), stretch.epoch)
                yield Window(numbers, num_streams, (start, stop), begin // size, epochs)

    def _window(self, order: EpochOrder, round_: int, share: Share) -> Int64s:
        rounds = np.arange(round_, round_ + self.rounds)
        streams, place = np.meshgrid(share.streams, rounds, indexing="ij")
        there = place < order.lengths[streams]
        numbers, bits = np.zeros_like(place), np.zeros(place.shape, np.uint64)
        numbers[there] = order.stream_part(streams[there], place[there])
        bits[there] = order.window_bits(numbers[there])
        # What is not there goes last: some streams are a record shorter than others.
        by_bits = np.lexsort((bits, ~there), axis=1)
        return np.take_along_axis(numbers, by_bits, axis=1).T[there.T]


@dataclass(frozen=True)
class WrittenOrder:
    """The order written, in every epoch; each host has a piece of each batch.

    Attributes:
        num_records: Positions of an epoch.
        batch_size: Over all hosts.
        batches: In a window.
    """

    num_records: int
    batch_size: int
    batches: int

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        size = self.batch_size * self.batches
        for begin in range(stretch.start, stretch.stop, size):
            positions = np.arange(begin, min(begin + size, stretch.stop))
            numbers = np.where(positions < self.num_records, positions, NO_RECORD)
            of_hosts = numbers.reshape(
                -1, share.host_count, self.batch_size // share.host_count
            )
            mine = of_hosts[:, share.host_index].ravel()
            epochs = np.full(len(mine), stretch.epoch)
            yield Window(mine, 1, (0, len(mine)), begin // size, epochs)
