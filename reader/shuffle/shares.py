"""Which positions of each batch a host reads.

S streams take turns in the order: position p belongs to stream p mod S. Let g be the
greatest common divisor of the number of hosts H and S. Host h belongs to *class* h mod
g, together with H / g - 1 other hosts. A class has the positions, and so the streams,
that are congruent to it modulo g: B / g of the positions of each batch of B. Its hosts
cut these, sorted by stream, into equal runs.

- The examples of a batch do not depend on H, and each host has B / H of them.
- If H divides S, a host is a class of its own and owns whole streams.
- Otherwise a host has about S / H streams. All but the two at the ends of its run are
  whole, and they are nearly the same in every batch. So it reads few extra bytes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


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


@dataclass(frozen=True)
class Share:
    """The share of a host in every batch.

    Attributes:
        host_index: Index of this host, 0 to `host_count` - 1.
        host_count: Number of hosts, a divisor of the batch size.
        batch_size: Examples per batch, over all hosts. Only needed if `host_count` does
            not divide the number of streams.
    """

    host_index: int = 0
    host_count: int = 1
    batch_size: int = 0

    def positions(
        self, stretch: Stretch, begin: int, end: int, num_streams: int
    ) -> Int64s:
        """Returns the host's positions of a stretch from `begin` up to `end`, sorted.

        Args:
            stretch: Positions of whole batches.
            begin: First position.
            end: Position after the last one.
            num_streams: Number of streams.

        Returns:
            int64[n].
        """
        begin, end = max(begin, stretch.start), min(end, stretch.stop)
        if begin >= end:
            return np.zeros(0, np.int64)
        if num_streams % self.host_count == 0:
            first = begin + (self.host_index - begin) % self.host_count
            return np.arange(first, end, self.host_count)
        size, start = self.batch_size, stretch.start
        batches = (begin - start) // size, -(-(end - start) // size)
        positions = _of_batches(self, start, *batches, num_streams)
        first, last = np.searchsorted(positions, (begin, end)).tolist()
        return positions[first:last]

    def streams(self, num_streams: int) -> Int64s:
        """Returns the streams that the host reads, sorted.

        They are exact if `host_count` divides the number of streams. Otherwise they are
        those of the first batches, and later batches have nearly the same.
        """
        batches = -(-num_streams // max(1, self.batch_size))
        stretch = Stretch(0, 0, max(num_streams, batches * self.batch_size))
        positions = self.positions(stretch, 0, stretch.stop, num_streams)
        return np.unique(positions % num_streams)


# Windows that are smaller than a batch need the positions of the same one.
@lru_cache(8)
def _of_batches(
    share: Share, start: int, first: int, last: int, num_streams: int
) -> Int64s:
    """Returns the host's positions in batches `first` to `last - 1`, sorted."""
    size = share.batch_size
    common = math.gcd(share.host_count, num_streams)
    member, of_class = divmod(share.host_index, common)
    # Positions of the class are counted: the one of index i is i * common + class.
    starts = -(-(start + size * np.arange(first, last) - of_class) // common)
    turns, mine = num_streams // common, size // share.host_count
    runs = [
        _run(first_turn, turns, size // common, member * mine, mine)
        for first_turn in (starts % turns).tolist()
    ]
    positions: Int64s = (starts[:, np.newaxis] + runs).ravel() * common + of_class
    positions.flags.writeable = False  # Callers get views of what is cached.
    return positions


@lru_cache(1024)
def _run(first: int, num_streams: int, size: int, begin: int, mine: int) -> Int64s:
    """Returns the host's part of a class's positions in a batch, sorted.

    Args:
        first: Stream of the first position.
        num_streams: Number of streams of the class.
        size: Number of positions of the class.
        begin: Number of positions of hosts before this one.
        mine: Number of positions of this host.

    Returns:
        int64[n], indices of positions from 0 to `size` - 1.
    """
    streams = (first + np.arange(size)) % num_streams
    by_stream = np.argsort(_spread(num_streams)[streams], kind="stable")
    return np.sort(by_stream[begin : begin + mine])


@lru_cache(64)
def _spread(num: int) -> Int64s:
    """Returns int64[num], a permutation in which neighbors are far apart.

    A batch may have fewer positions than there are streams. Its streams, which are
    neighbors, are then evenly distributed over the hosts of a class.
    """
    step = max(1, round(num * _GOLDEN_RATIO))
    while math.gcd(step, num) > 1:
        step += 1
    return np.arange(num) * step % num


class Cells(NamedTuple):
    """Positions as cells of a table with a row per round and a column per stream.

    Attributes:
        streams: int64[columns], the streams of the positions, sorted.
        cells: int64[n], index of each position's cell in the flattened table.
    """

    streams: Int64s
    cells: Int64s


def cells_of(positions: Int64s, num_streams: int) -> Cells:
    """Returns the cells of positions, counted from the first position of a round."""
    rounds, stream = np.divmod(positions, num_streams)
    streams, column = np.unique(stream, return_inverse=True)
    return Cells(streams, rounds * len(streams) + column)


def windows_of(stretch: Stretch, size: int) -> range:
    """Returns the first position of each window that a stretch has a part of."""
    return range(stretch.start // size * size, stretch.stop, size)
