"""What a process has open of a cache."""

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass, field

from reader.range_cache.block_files import BlockFiles
from reader.range_cache.eviction import Plan
from reader.range_cache.ledger import Ledger
from reader.range_cache.pieces import Piece
from reader.range_cache.space import Space
from reader.range_cache.users import User


@dataclass(frozen=True)
class Session:
    """What a process has open; a forked process opens its own.

    Attributes:
        user: The process as a user of the cache.
        ledger: The ledger, used only while `lock` is held.
        files: Files of the blocks.
        space: Space of the cache.
        plan: When this run needs what.
        run: Name of the run; empty without a plan.
        shards: Number of each file of the index in the ledger.
        first_blocks: Number of each file's first block in the index.
        process: Process that opened it.
        lock: Lock for the ledger and the plan.
    """

    user: User
    ledger: Ledger
    files: BlockFiles
    space: Space
    plan: Plan
    run: str
    shards: list[int]
    first_blocks: list[int]
    process: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def block_of(self, piece: Piece) -> tuple[int, int]:
        """Returns a piece's shard in the ledger, and its block in that shard."""
        return self.shards[piece.file], piece.block - self.first_blocks[piece.file]

    def plan_at(self, clock: int) -> Plan:
        """Returns the plan, for the hosts that use the cache now.

        Args:
            clock: Clock of the run, in examples.
        """
        run = self.ledger.runs.current(self.run)
        if run is not None:
            self.plan.renew(run, self.ledger.runs.hosts(self.run))
        self.plan.advance(clock)
        return self.plan

    def close(self) -> None:
        """Ends the use of the cache by this process."""
        with self.lock:
            # If it fails, it is as if this process had been killed.
            with contextlib.suppress(sqlite3.Error):
                self.ledger.runs.leave(self.user.name)
                self.ledger.close()
            self.user.leave()
