"""Space on the disk: how much is free, and blocks that make room."""

import itertools
from collections.abc import Iterable

from reader.range_cache.block_files import BlockFiles
from reader.range_cache.blocks import BlockRow, Reservation
from reader.range_cache.ledger import Ledger

# Space by which the ledger and the folders may grow while pieces are stored, in bytes.
_ALLOWANCE = 1 << 20
# Times that space is looked for, after which the folders are measured again.
_MEASURE_EVERY = 128
# Blocks that leave together when the bound has become smaller.
_EVICTED_AT_ONCE = 1024


class Space:
    """Space of a cache, which never takes more than its bound.

    Callers hold the lock of the ledger.
    """

    def __init__(self, ledger: Ledger, files: BlockFiles, max_bytes: int) -> None:
        """Measures nothing yet.

        Args:
            ledger: The ledger.
            files: Files of the blocks.
            max_bytes: Most space that the cache takes on the disk.
        """
        self._ledger, self._files, self._max_bytes = ledger, files, max_bytes
        self._times_measured = self._of_folders = 0

    def free(self) -> int:
        """Returns the space that may still be reserved, in bytes."""
        if self._times_measured % _MEASURE_EVERY == 0:
            self._of_folders = self._files.space_of_folders()
        self._times_measured += 1
        taken = self._ledger.total + self._ledger.space() + self._of_folders
        return self._max_bytes - taken - _ALLOWANCE

    def evict(self, user: str) -> None:
        """Deletes the blocks that a user has marked to leave."""
        with self._ledger.change():
            leaving = self._ledger.blocks.leaving(user)
            for block in leaving:
                self._files.remove(block)
            self._ledger.blocks.forget(leaving)

    def release(self, reserved: Iterable[Reservation]) -> None:
        """Ends reservations; deletes files of which nothing was kept."""
        for one in reserved:
            if self._ledger.blocks.release(one, self._files.space(one.block)):
                self._files.remove(one.block)

    def shrink(self, user: str) -> None:
        """Evicts what a run with a larger bound has left above this one."""
        while (excess := -self.free()) > 0:
            with self._ledger.change():
                rows = self._latest()
                before = itertools.accumulate((row.bytes for row in rows), initial=0)
                victims = [
                    row.id
                    for row, sum_ in zip(rows, before, strict=False)
                    if sum_ < excess
                ]
                self._ledger.blocks.mark_leaving(victims, user)
            if not victims:
                return
            self.evict(user)

    def _latest(self) -> list[BlockRow]:
        """Returns blocks that no run needs, and those that each run needs latest."""
        live = [run.id for run in self._ledger.runs.live()]
        rows = self._ledger.blocks.unplanned(live, _EVICTED_AT_ONCE)
        for run in live:
            rows += self._ledger.blocks.latest(run, _EVICTED_AT_ONCE)
        return rows
