"""START HERE. Keeps pieces of shards on a local disk, never more than so many bytes.

`load` returns the pieces that there are, checked; `store` keeps those that were
fetched, in the place of such that are needed later. The pieces of a block of 64 records
are in one file and are evicted together. Processes of a host share a cache: the ledger
knows what it holds, space is reserved before it is written, and whatever a killed
process left is cleared when the cache is opened next.
"""

import hashlib
import logging
import os
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from reader.datasets.record_index import RecordIndex
from reader.range_cache import hits
from reader.range_cache.loading import Damage, drop_damaged, load_pieces, note_used
from reader.range_cache.opening import Setup, open_session
from reader.range_cache.pieces import Piece, first_blocks
from reader.range_cache.session import Session
from reader.range_cache.storing import store_pieces
from reader.shuffle.next_uses import NextUses
from reader.storage.files import is_remote

_LOG = logging.getLogger("reader")
_T = TypeVar("_T")
# Calls of `store` whose bytes may wait in memory, each of a few megabytes.
_MOST_WAITING = 8


class _Used(NamedTuple):
    """Blocks that were read, by their numbers in the ledger; and those in the index."""

    blocks: dict[int, int]
    clock: int

    @property
    def items(self) -> list[tuple[int, int]]:
        return list(self.blocks.items())


class _Fetched(NamedTuple):
    """Pieces to store."""

    pieces: Sequence[Piece]
    data: Sequence[Any]
    clock: int

    @property
    def items(self) -> list[tuple[Piece, Any]]:
        return list(zip(self.pieces, self.data, strict=True))


# Sessions of the processes that this one was forked from: closing their ledgers here
# would release what they hold.
_OF_PARENTS: list[Session] = []


class RangeCache:
    """A bounded cache of pieces of the files of an index.

    Threads and forked processes may share it. If the folder cannot be written, such as
    on a full disk, one warning says so, and nothing is stored any more.

    Attributes:
        damaged: Number of pieces that were damaged.
    """

    def __init__(
        self,
        folder: str,
        max_bytes: int,
        index: RecordIndex,
        next_uses: NextUses | None = None,
        run: str = "",
    ) -> None:
        """Opens the cache, or creates it.

        Args:
            folder: Folder of the cache, on a disk of this host.
            max_bytes: Most space that the cache takes on the disk, of all runs that
                share it.
            index: Index of the files. Each has a manifest.
            next_uses: When blocks are needed next; None to evict what was not used for
                the longest time.
            run: Name that all hosts give to a run with these next uses of the files.

        Raises:
            UsageError: A file has no manifest, another host uses the folder, or a later
                version wrote it.
        """
        for file in index.files:
            if is_remote(file.path):
                file.check_is_cacheable()
        self._setup = _setup(folder, max_bytes, index, next_uses, run)
        self._paths = [file.path for file in index.files]
        self.damaged = 0
        self._can_store = True
        self._opening = threading.Lock()
        self._renew_locks()
        self._sessions: list[Session] = []
        # Called by whoever is done, or when nobody has this cache any more.
        self.close = weakref.finalize(self, _close, self._sessions)
        session = self._guarded(lambda: open_session(self._setup), None)
        if session is not None:
            self._sessions.append(session)

    def _renew_locks(self) -> None:
        self._working = threading.Lock()
        self._used: deque[_Used] = deque()
        self._fetched: deque[_Fetched] = deque()

    def load(self, pieces: Sequence[Piece], clock: int = 0) -> list[bytes | None]:
        """Returns the bytes of each piece; None if they are missing or damaged.

        Args:
            pieces: Pieces to read.
            clock: Begin of the window that they belong to, in examples of the run.
        """
        none: list[bytes | None] = [None] * len(pieces)
        data = self._guarded(lambda: self._load(pieces, clock), none)
        hits.add(
            sum(len(found) for found in data if found is not None),
            sum(piece.end - piece.begin for piece in pieces),
        )
        return data

    def _load(self, pieces: Sequence[Piece], clock: int) -> list[bytes | None]:
        session = self._current()
        if session is None:
            return [None] * len(pieces)
        loaded = load_pieces(session, pieces)
        if loaded.damage:
            self._report(loaded.damage)
            if self._can_store:
                drop_damaged(session, loaded.damage)
        if loaded.used and self._can_store:
            self._used.append(_Used(loaded.used, clock))
            self._work()
        return loaded.data

    def _report(self, damage: Sequence[Damage]) -> None:
        self.damaged += len(damage)
        for piece, *_ in damage:
            _LOG.warning(
                "bytes %d to %d of %s are damaged in the cache in %s: fetching them "
                "again",
                piece.begin,
                piece.end,
                self._paths[piece.file],
                self._setup.folder,
            )

    def store(
        self, pieces: Sequence[Piece], data: Sequence[Any], clock: int = 0
    ) -> None:
        """Keeps pieces, unless all there is will be needed sooner.

        Args:
            pieces: Pieces that were fetched. Their checksums are right.
            data: Bytes of each piece.
            clock: Begin of the window that they belong to, in examples of the run.
        """
        if self._can_store and pieces:
            self._fetched.append(_Fetched(pieces, data, clock))
            self._guarded(self._work, None)

    def _work(self) -> None:
        """Notes what was used and stores what was fetched, of all threads at once.

        A change of the ledger takes as long for many pieces as for one. Threads that
        come meanwhile leave theirs to the one that is at work, unless it has a lot.
        """
        while self._used or self._fetched:
            wait = len(self._fetched) > _MOST_WAITING
            if not self._working.acquire(blocking=wait):
                return
            try:
                self._work_off()
            finally:
                self._working.release()

    def _work_off(self) -> None:
        used, fetched = _by_clock(self._used), _by_clock(self._fetched)
        session = self._current()
        if session is None:
            return
        for clock, blocks in used.items():
            note_used(session, dict(blocks), clock)
        for clock, pieces in fetched.items():
            store_pieces(session, pieces, clock)

    def _guarded(self, work: Callable[[], _T], otherwise: _T) -> _T:
        """Does some work; if the disk fails, continues without the cache."""
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            # A thread may come late, when the cache is closed.
            if self._can_store and self.close.alive:
                self._can_store = False
                _LOG.warning(
                    "%s cannot be used as a cache, and reading continues without "
                    "storing anything more there: %s",
                    self._setup.folder,
                    error,
                )
            return otherwise

    def _current(self) -> Session | None:
        """Returns what this process has open."""
        if not self._sessions:
            return None
        session = self._sessions[0]
        if session.process != os.getpid():
            with self._opening:
                if self._sessions[0] is session:
                    _OF_PARENTS.append(session)
                    session.user.forget()
                    self._renew_locks()
                    self._sessions[0] = open_session(self._setup)
        return self._sessions[0]


def _by_clock(waiting: "deque[Any]") -> dict[int, list[Any]]:
    """Takes all that waits, and returns it by the clock."""
    found: dict[int, list[Any]] = {}
    for _ in range(len(waiting)):
        each = waiting.popleft()
        found.setdefault(each.clock, []).extend(each.items)
    return found


def _close(sessions: list[Session]) -> None:
    """Ends the use of a cache by this process."""
    while sessions:
        session = sessions.pop()
        if session.process == os.getpid():
            session.close()
        else:
            _OF_PARENTS.append(session)


def _setup(
    folder: str,
    max_bytes: int,
    index: RecordIndex,
    next_uses: NextUses | None,
    run: str,
) -> Setup:
    names = [f"{file.checksum}-{file.num_bytes}" for file in index.files]
    digest = ""
    if next_uses is not None:
        # With other layers, a run of the same order reads other files.
        named = "\n".join([run, *names])
        digest = hashlib.sha256(named.encode()).hexdigest()[:32]
    counts = [shard.num_examples for shard in index.shards]
    first = first_blocks(counts, len(index.layers)).tolist()
    where = os.path.join(folder, "ranges")
    return Setup(where, max_bytes, names, first, next_uses, digest)
