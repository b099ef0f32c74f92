"""Which blocks to evict: those needed latest, by Belady's rule.

L. A. Belady: A study of replacement algorithms for a virtual-storage computer, IBM
Systems Journal 5 (2), 1966. Blocks of a plan are needed when the plan says; of several
runs that share a cache, the clock of each is turned into seconds by its speed. Without
a plan, a block is expected after as long a time as it was not used. What no run reads
that is alive is evicted first.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.range_cache.blocks import BlockRow
from reader.range_cache.ledger import Ledger
from reader.range_cache.runs import RunRow
from reader.shuffle.arrays import Int64s
from reader.shuffle.next_uses import NEVER, NextUses

# Blocks that a run has planned anew at most, before it stores something.
_PLANNED_AT_ONCE = 2048
# Examples per second of a run that has just begun.
_USUAL_SPEED = 1000.0
# Windows of a clock after which a use that was expected did not happen.
_OVERDUE_WINDOWS = 4


class Waiting(NamedTuple):
    """A block that may be evicted.

    Attributes:
        seconds: Expected time until it is needed.
        id: Number of the block in the ledger.
        bytes: Space that its file takes on the disk.
    """

    seconds: float
    id: int
    bytes: int


class Plan:
    """What the run of this process needs when.

    Attributes:
        run: The run in the ledger.
    """

    def __init__(
        self, next_uses: NextUses | None, first_blocks: dict[int, int], run: RunRow
    ) -> None:
        """Creates the plan.

        Args:
            next_uses: When blocks are needed next; None if that is not known.
            first_blocks: Number of the first block of each shard in the index, by the
                shard's number in the ledger.
            run: The run in the ledger.
        """
        self.run = run
        self._uses, self._first_blocks = next_uses, first_blocks
        self._clock = self._window = 0

    def renew(self, run: RunRow, hosts: Sequence[int]) -> None:
        """Sets the run that the ledger has now, and the hosts that use the cache."""
        if run.id != self.run.id and self._uses is not None:
            self._uses.read_by(hosts)
        self.run = run

    def advance(self, clock: int) -> None:
        """Sets the clock, and prepares what later calls need of its epoch."""
        self._window = max(self._window, clock - self._clock if self._clock else 0)
        self._clock = clock

    def after(self, blocks: Int64s, clock: int, now: float) -> list[int]:
        """Returns when blocks of the index are needed after they were read."""
        if self._uses is None:
            return [_unknown(now)] * len(blocks)
        return _or_never(self._uses.after(blocks, clock), now)

    def again(self, blocks: Int64s, clock: int, now: float) -> list[int]:
        """Returns when records of blocks that are read now are needed again."""
        if self._uses is None:
            return [_unknown(now)] * len(blocks)
        return _or_never(self._uses.again(blocks, clock), now)

    def seconds(self, next_use: int, run: RunRow, now: float) -> float:
        """Returns the expected time until a block is needed."""
        if next_use > NEVER // 2:
            unknown = math.inf if run.name else now - (NEVER - next_use) / 1000
            return max(0.0, unknown)
        return max(0, next_use - run.clock) / _speed(run, now)

    def waiting(self, ledger: Ledger, num: int, now: float) -> list[Waiting]:
        """Returns blocks that may be evicted, those needed latest first.

        Args:
            ledger: The ledger, within a change.
            num: Number of blocks of each run to consider.
            now: Seconds since 1970.
        """
        live = ledger.runs.live()
        waiting = self._of_ended_runs(ledger, [run.id for run in live], now)
        if self._uses is not None:
            before = self._clock - _OVERDUE_WINDOWS * self._window
            overdue = ledger.blocks.overdue(self.run.id, before, num)
            self._plan_anew(ledger, overdue, now)
            self._plan_unknown(ledger, num, now)
        for run in live:
            waiting += [
                Waiting(self.seconds(row.next_use, run, now), row.id, row.bytes)
                for row in ledger.blocks.latest(run.id, num)
            ]
        # Sorting is stable: of equals, the one that was used longest ago is first.
        return sorted(waiting, key=lambda each: -each.seconds)

    def _of_ended_runs(
        self, ledger: Ledger, live: Sequence[int], now: float
    ) -> list[Waiting]:
        """Takes over blocks that this run reads; returns those that it does not."""
        rows = ledger.blocks.unplanned(live, _PLANNED_AT_ONCE)
        mine = [row for row in rows if row.shard in self._first_blocks]
        if self._uses is not None:
            self._plan_anew(ledger, mine, now)
            rows = [row for row in rows if row.shard not in self._first_blocks]
        return [Waiting(math.inf, row.id, row.bytes) for row in rows]

    def _plan_unknown(self, ledger: Ledger, num: int, now: float) -> None:
        """Plans blocks whose next use the last epoch did not know."""
        latest = ledger.blocks.latest(self.run.id, num)
        unknown = [row for row in latest if row.next_use > NEVER // 2]
        uses = self.again(self._numbers(unknown), self._clock, now)
        ledger.blocks.plan(
            [
                (self.run.id, use, row.id)
                for row, use in zip(unknown, uses, strict=True)
                if use < NEVER // 2
            ]
        )

    def _plan_anew(self, ledger: Ledger, rows: Sequence[BlockRow], now: float) -> None:
        uses = self.after(self._numbers(rows), self._clock, now)
        ledger.blocks.plan(
            [(self.run.id, use, row.id) for row, use in zip(rows, uses, strict=True)]
        )

    def _numbers(self, rows: Sequence[BlockRow]) -> Int64s:
        """Returns the numbers of blocks in the index."""
        numbers = [self._first_blocks[row.shard] + row.block for row in rows]
        return np.array(numbers, np.int64)


def _unknown(now: float) -> int:
    """Returns the next use of a block of which only the last use, now, is known."""
    return NEVER - int(1000 * now)


def _or_never(uses: Int64s, now: float) -> list[int]:
    return [_unknown(now) if use == NEVER else use for use in uses.tolist()]


def _speed(run: RunRow, now: float) -> float:
    """Returns examples per second."""
    ahead, seconds = run.clock - run.begun_clock, now - run.begun
    return ahead / seconds if ahead > 0 and seconds > 1 else _USUAL_SPEED
