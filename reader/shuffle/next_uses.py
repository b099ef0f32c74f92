"""When the blocks of the index are needed next, computed from the order.

A block of up to 64 neighboring records is read in few neighboring windows of an epoch.
The *clock* counts examples of a run, epoch after epoch, over all hosts: a record is
needed when the clock reaches the begin of its window. All hosts share this clock.

What is known reaches as far as the next epoch, or the third one if other machines read
a part of the records, for 4 bytes a block and epoch. A block that none of the hosts
needs until then is needed `NEVER`.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reader.shuffle.arrays import Int64s
from reader.shuffle.order import BlockPlaces, Numbering, ShuffledOrder, WrittenOrder
from reader.shuffle.shares import Share

# Clock of a use that is not known, later than all others.
NEVER = 1 << 60
# Epochs that are known after the current one: a block that other machines read in the
# next epoch may come back in a later one (tests/benchmarks/cache.py).
_AHEAD, _AHEAD_OF_A_PART = 1, 3


class NextUses(Protocol):
    """When the blocks of a run are needed next.

    Attributes:
        share: Share of this host.
    """

    share: Share

    def read_by(self, hosts: Collection[int]) -> None:
        """Sets the hosts whose uses count, such as all that share a cache."""

    def after(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns the clock of the first use of each block after `clock`, or `NEVER`.

        Args:
            blocks: int64[n], numbers of blocks of the index.
            clock: Begin of the current window, in examples.
        """

    def again(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns when records that are read at `clock` are needed again, or `NEVER`.

        Args:
            blocks: int64[n], the block of each record.
            clock: Begin of the current window, in examples.
        """


class PlannedUses:
    """Next uses of blocks by an order with epochs.

    Attributes:
        share: Share of this host.
    """

    def __init__(self, num_blocks: int, num_records: int, share: Share) -> None:
        """Creates the next uses.

        Args:
            num_blocks: Number of blocks of the index. Weights may make an order of
                several times as many, of which these are the layers.
            num_records: Number of records of an epoch.
            share: Share of this host.
        """
        self.share = share
        self._num_blocks, self._num_records = num_blocks, num_records
        self._places: OrderedDict[int, BlockPlaces] = OrderedDict()
        self._is_read = np.zeros(0, np.bool_)
        self.read_by((share.host_index,))

    def read_by(self, hosts: Collection[int]) -> None:
        """Sets the hosts whose uses count."""
        raise NotImplementedError

    def _places_of(self, epoch: int) -> BlockPlaces:
        """Returns where the blocks of an epoch are."""
        raise NotImplementedError

    def _windows(self, epoch: int, stream: Int64s, place: Int64s) -> Int64s:
        """Returns the clock of records; `NEVER` of what other hosts read."""
        raise NotImplementedError

    def after(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns the clock of the first use of each block after `clock`."""
        soonest = np.full(len(blocks), NEVER)
        epoch = clock // self._num_records
        for each in range(epoch, epoch + 1 + self._ahead):
            left = np.flatnonzero(soonest == NEVER)
            soonest[left] = self._in_epoch(blocks[left], each, clock)
        return soonest

    def again(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns when records that are read at `clock` are needed again."""
        epoch = clock // self._num_records
        return self.after(blocks, (epoch + 1) * self._num_records - 1)

    @property
    def _ahead(self) -> int:
        return _AHEAD if self._is_read.all() else _AHEAD_OF_A_PART

    def _in_epoch(self, blocks: Int64s, epoch: int, clock: int) -> Int64s:
        if epoch not in self._places:
            self._places[epoch] = self._places_of(epoch)
            # One more than are known: hosts do not begin an epoch all at once.
            while len(self._places) > self._ahead + 2:
                self._places.popitem(last=False)
        self._places.move_to_end(epoch)
        places = self._places[epoch]
        soonest = np.full(len(blocks), NEVER)
        for first in range(0, len(places.blocks.first) - 1, max(1, self._num_blocks)):
            stream, place, exists = places.uses(first + blocks)
            clocks = self._windows(epoch, stream, place)
            clocks[~exists | (clocks <= clock)] = NEVER
            soonest = np.minimum(soonest, clocks.min(axis=1, initial=NEVER))
        return soonest


class ShuffledUses(PlannedUses):
    """Next uses of blocks by a shuffle order."""

    def __init__(
        self, order: ShuffledOrder, num_blocks: int, share: Share, *, endless: bool
    ) -> None:
        """Creates the next uses.

        Args:
            order: The order.
            num_blocks: Number of blocks of the index.
            share: Share of this host.
            endless: Whether the streams run on from epoch to epoch, as in a mixture.
        """
        self._order, self._endless = order, endless
        super().__init__(num_blocks, order.num_records, share)

    def read_by(self, hosts: Collection[int]) -> None:
        """Sets the hosts whose uses count."""
        num = self._order.num_streams
        self._is_read = np.zeros(num, np.bool_)
        for host in hosts:
            share = Share(host, self.share.host_count, self.share.batch_size)
            self._is_read[share.streams(num)] = True

    def _places_of(self, epoch: int) -> BlockPlaces:
        if self._ahead > _AHEAD:
            return self._order.block_places(epoch)
        # The windows will need this order, too.
        return self._order.epoch(epoch).block_places()

    def _windows(self, epoch: int, stream: Int64s, place: Int64s) -> Int64s:
        begin, rounds = epoch * self._num_records, self._order.rounds
        moved = begin if self._endless else 0
        is_read = self._is_read[(stream + moved) % self._order.num_streams]
        clocks = begin + place // rounds * (rounds * self._order.num_streams)
        return np.where(is_read, clocks, NEVER)


class WrittenUses(PlannedUses):
    """Next uses of blocks by the order in which records were written."""

    def __init__(
        self, order: WrittenOrder, numbering: Numbering, num_blocks: int, share: Share
    ) -> None:
        """Creates the next uses.

        Args:
            order: The order.
            numbering: Records, such as the blocks of the index.
            num_blocks: Number of blocks of the index.
            share: Share of this host.
        """
        self._order, self._numbering = order, numbering
        super().__init__(num_blocks, order.num_records, share)

    def read_by(self, hosts: Collection[int]) -> None:
        """Sets the hosts whose uses count."""
        self._is_read = np.zeros(self.share.host_count, np.bool_)
        self._is_read[list(hosts)] = True

    def _places_of(self, epoch: int) -> BlockPlaces:
        blocks = self._numbering.blocks_of(epoch)
        start = np.zeros(1, np.int64)
        return BlockPlaces(blocks.first[:-1], blocks, start, start)

    def _windows(self, epoch: int, stream: Int64s, place: Int64s) -> Int64s:
        size = self._order.batch_size
        host = place % size // (size // self.share.host_count)
        window = size * self._order.batches
        clocks = epoch * self._num_records + place // window * window
        return np.where(self._is_read[host], clocks, NEVER)


class MixedUses:
    """Next uses of blocks by a mixture: nearly exact, since its pattern is even.

    Attributes:
        share: Share of this host.
    """

    def __init__(
        self, parts: Sequence[tuple[ShuffledUses, int]], rates: Sequence[float]
    ) -> None:
        """Creates the next uses.

        Args:
            parts: Next uses of each part, and the number of its blocks.
            rates: Examples of each part per example of the mixture.
        """
        self._parts = [uses for uses, _ in parts]
        self._first = np.cumsum([0, *(num for _, num in parts)])
        self._rates = rates
        self.share = self._parts[0].share

    def read_by(self, hosts: Collection[int]) -> None:
        """Sets the hosts whose uses count."""
        for part in self._parts:
            part.read_by(hosts)

    def after(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns the clock of the first use of each block after `clock`."""
        return self._of_parts(blocks, clock, lambda part: part.after)

    def again(self, blocks: Int64s, clock: int) -> Int64s:
        """Returns when records that are read at `clock` are needed again."""
        return self._of_parts(blocks, clock, lambda part: part.again)

    def _of_parts(
        self,
        blocks: Int64s,
        clock: int,
        method: Callable[[ShuffledUses], Callable[[Int64s, int], Int64s]],
    ) -> Int64s:
        uses = np.full(len(blocks), NEVER)
        which: NDArray[np.int64] = np.searchsorted(self._first, blocks, "right") - 1
        for index, (part, rate) in enumerate(zip(self._parts, self._rates, strict=True)):
            mine = which == index
            found = method(part)(blocks[mine] - self._first[index], int(clock * rate))
            known = np.minimum(found, 1 << 52) / rate  # Exact in float64.
            uses[mine] = np.where(found == NEVER, NEVER, known.astype(np.int64))
        return uses
