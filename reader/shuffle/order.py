"""The shuffle order of an epoch, computed from the block index only.

An epoch's order is a pure function of (blocks, seed, epoch, rounds per window):

1. The blocks of the index, each of up to 64 neighboring records, are permuted and
   concatenated into a ring.
2. The ring is cut into `NUM_STREAMS` streams, whose lengths differ by at most one
   record. The first cut is at an offset that differs in each epoch. Which piece of the
   ring becomes which stream is a permutation that differs in each epoch.
3. Each stream is shuffled within windows. A window holds as many consecutive records
   of each stream as it has rounds.
4. The order takes one record of each stream, round-robin: position p belongs to stream
   p mod `NUM_STREAMS`.

Host h of H reads the positions p with p mod H = h. If H divides `NUM_STREAMS`, each
host therefore owns whole streams and reads no bytes of other streams. If H divides the
batch size, each host has the same number of records in every batch. docs/reading.md has
a drawing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s, UInt64s
from reader.shuffle.randomness import permutation, random_bits, random_key

# Version of everything that determines an order. Resuming from a state of another
# version is rejected.
PLAN_VERSION = 1

# The number of hosts may be any divisor: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96,
# 192. More streams mix better, but need more and smaller reads:
# docs/performance.md#shuffling.
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


class EpochOrder:
    """The order of one epoch.

    Attributes:
        lengths: int64[NUM_STREAMS], number of records of each stream.
    """

    def __init__(self, blocks: Blocks, seed: int | str, epoch: int) -> None:
        """Permutes the blocks, concatenates them and cuts them into streams.

        Args:
            blocks: Blocks of the index.
            seed: Seed of all orders.
            epoch: Number of the epoch, from 0.
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
        each, more = divmod(blocks.num_records, NUM_STREAMS)
        self.lengths = each + (np.arange(NUM_STREAMS) < more)
        # Numbers the streams in a random order, since neighboring pieces of the ring
        # may share a block.
        parts = permutation(random_key("streams", seed, epoch), NUM_STREAMS)
        ends = np.cumsum(self.lengths[parts])
        self._starts = np.empty(NUM_STREAMS, np.int64)
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

    def window_bits(self, numbers: Int64s) -> UInt64s:
        """Returns the sort keys that shuffle the records of a window."""
        return random_bits(self._window_key, numbers)


class Window(NamedTuple):
    """Consecutive records of one host, in order.

    Attributes:
        numbers: int64[n], record numbers; `NO_RECORD` at padding positions.
        columns: Number of streams; the records belong to them round-robin.
        keep: First and last position to read, (start, stop). Records outside only take
            part in sorting the window.
        number: Number of the window in the epoch.
        epochs: int64[n], epoch of each record.
    """

    numbers: Int64s
    columns: int
    keep: tuple[int, int]
    number: int
    epochs: Int64s

    def cut(self) -> "Window":
        """Returns the window with only the records of `keep`."""
        start, stop = self.keep
        numbers, epochs = self.numbers[start:stop], self.epochs[start:stop]
        return self._replace(numbers=numbers, epochs=epochs, keep=(0, len(numbers)))


@dataclass(frozen=True)
class Share:
    """The share of a host in every batch.

    Attributes:
        host_index: Index of this host, 0 to `host_count` - 1.
        host_count: Number of hosts, a divisor of `NUM_STREAMS` and of the batch size.
    """

    host_index: int = 0
    host_count: int = 1

    @property
    def streams(self) -> Int64s:
        """Streams that the host reads, int64[NUM_STREAMS / host_count]."""
        return np.arange(self.host_index, NUM_STREAMS, self.host_count)

    def count(self, position: int) -> int:
        """Returns the number of the host's positions below a position."""
        return max(0, -(-(position - self.host_index) // self.host_count))


class Stretch(NamedTuple):
    """Consecutive positions of one epoch, a whole number of batches.

    Attributes:
        epoch: Number of the epoch, from 0.
        start: First position.
        stop: Position after the last one. It exceeds the number of records in the epoch
            if the last batch is padded.
    """

    epoch: int
    start: int
    stop: int


class ShuffledOrder:
    """The shuffle order, which differs in each epoch.

    Attributes:
        num_records: Number of records in an epoch.
        rounds: Number of records of each stream in a window.
        epoch: Function from the number of an epoch to its `EpochOrder`.
    """

    def __init__(self, blocks: Blocks, seed: int | str, rounds: int) -> None:
        """Creates the order.

        Args:
            blocks: Blocks of the index.
            seed: Seed of all orders.
            rounds: Number of records of each stream in a window.
        """
        self.num_records = blocks.num_records
        self.rounds = rounds
        # Keeps the last two epochs, since a window may span the end of an epoch.
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
        # Missing records sort last: some streams are a record shorter than others.
        by_bits = np.lexsort((bits, ~there), axis=1)
        return np.take_along_axis(numbers, by_bits, axis=1).T[there.T]


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
