"""START HERE. Keeps pieces of shards on a local disk, never more than so many bytes.

`load` returns the pieces that there are, checked; `store` keeps those that were
fetched, in the place of such that are needed later. The pieces of a block of 64 records
are in one file and are evicted together. Processes of a host share a cache: the ledger
knows what is stored, space is reserved before it is written, and whatever a killed
process left is cleared when the cache is opened next.
"""

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from reader.contract.errors import UsageError
from reader.datasets.record_index import RecordIndex
from reader.datasets.shard_cache import check_is_cacheable
from reader.range_cache.block_files import BlockFiles, in_pages
from reader.range_cache.eviction import Plan, Waiting
from reader.range_cache.ledger import VERSION, Ledger, RunRow
from reader.range_cache.pieces import (
    Kept,
    Piece,
    first_blocks,
    found_in,
    is_intact,
    missing_from,
)
from reader.range_cache.users import User, alive_in, locked
from reader.shuffle.next_uses import NextUses
from reader.storage.files import is_remote

_LOG = logging.getLogger("reader")
_T = TypeVar("_T")
# Space by which the ledger and the folders may grow while pieces are stored.
_ALLOWANCE = 1 << 20
# Times that space is looked for, after which the folders are measured again.
_MEASURE_EVERY = 128
# Calls of `store` whose bytes may wait in memory, each of a few megabytes.
_MOST_WAITING = 8
# Blocks that leave together when the bound has become smaller.
_EVICTED_AT_ONCE = 1024


class _New(NamedTuple):
    """Pieces of a block to store.

    Attributes:
        seconds: Expected time until the block is needed.
        next_use: The same by the clock of the run.
        shard: Number of the shard in the ledger.
        block: Number of the block in its shard.
        ranges: Byte offsets in the shard of each part.
        parts: Bytes of each part.
    """

    seconds: float
    next_use: int
    shard: int
    block: int
    ranges: list[tuple[int, int]]
    parts: list[memoryview]

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


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


class _Session(NamedTuple):
    """What a process has open; a forked process opens its own."""

    process: int
    user: User
    ledger: Ledger
    plan: Plan
    shards: list[int]
    lock: threading.Lock


# Sessions of the processes that this one was forked from: closing their ledgers here
# would release what they hold.
_OF_PARENTS: list[_Session] = []


class RangeCache:
    """A bounded cache of pieces of the files of an index.

    Threads and forked processes may share it. If the folder cannot be written, such as
    on a full disk, one warning says so, and nothing is stored any more.

    Attributes:
        hits: Bytes that were in the cache.
        misses: Bytes that were not, or were damaged.
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
                check_is_cacheable(file)
        self._folder = os.path.join(folder, "ranges")
        self._max_bytes, self._index = max_bytes, index
        self._names = [f"{file.checksum}-{file.num_bytes}" for file in index.files]
        self._next_uses, self._run = next_uses, ""
        if next_uses is not None:
            # With other layers, a run of the same order reads other files.
            names = "\n".join([run, *self._names])
            self._run = hashlib.sha256(names.encode()).hexdigest()[:32]
        counts = [shard.num_examples for shard in index.shards]
        self._first = first_blocks(counts, len(index.layers)).tolist()
        self.hits = self.misses = self.damaged = 0
        self._can_store, self._measured, self._folder_space = True, 0, 0
        self._opening = threading.Lock()
        self._renew_locks()
        self._sessions: list[_Session] = []
        # Called by whoever is done, or when nobody has this cache any more.
        self.close = weakref.finalize(self, _close, self._sessions)
        session = self._guarded(self._open, None)
        if session is not None:
            self._sessions.append(session)

    def _renew_locks(self) -> None:
        self._counting, self._working = threading.Lock(), threading.Lock()
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
        total = sum(piece.end - piece.begin for piece in pieces)
        hits = sum(len(found) for found in data if found is not None)
        with self._counting:
            self.hits += hits
            self.misses += total - hits
        return data

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
                for clock, used in _by_clock(self._used).items():
                    self._note_used(dict(used), clock)
                for clock, fetched in _by_clock(self._fetched).items():
                    self._store(fetched, clock)
            finally:
                self._working.release()

    def _guarded(self, work: Callable[[], _T], otherwise: _T) -> _T:
        """Does some work; if the disk does not, continues without the cache."""
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            # A thread may come late, when the cache is closed.
            if self._can_store and self.close.alive:
                self._can_store = False
                _LOG.warning(
                    "%s cannot be used as a cache, and reading continues without "
                    "storing anything more there: %s",
                    self._folder,
                    error,
                )
            return otherwise

    # Opening.

    def _current(self) -> _Session | None:
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
                    self._sessions[0] = self._open()
        return self._sessions[0]

    def _open(self) -> _Session:
        users = os.path.join(self._folder, "users")
        os.makedirs(users, exist_ok=True)
        self._files = BlockFiles(os.path.join(self._folder, "blocks"))
        with locked(os.path.join(self._folder, "lock")):
            alive = alive_in(users)
            ledger = self._open_ledger(alive)
            user = User(users)
            self._clear(ledger, alive)
            host = 0 if self._next_uses is None else self._next_uses.share.host_index
            with ledger.change():
                ledger.join(user.name, self._run, host, 0, time.time())
            self._folder_space = self._files.space_of_folders()
            self._shrink(ledger, user.name)
        shards = ledger.number_shards(self._names)
        first = dict(zip(reversed(shards), reversed(self._first), strict=True))
        plan = Plan(self._next_uses, first, RunRow(0, "", 0, 0, 0))
        return _Session(os.getpid(), user, ledger, plan, shards, threading.Lock())

    def _open_ledger(self, alive: set[str]) -> Ledger:
        """Opens the ledger; begins an empty one if it is damaged and unused."""
        boot, ledger = _boot(), None
        try:
            ledger = Ledger(self._folder)
            version, last_boot = ledger.about
            if version > VERSION:
                raise UsageError(
                    f"the cache in {self._folder} has version {version}, and this "
                    f"reader knows up to {VERSION}: pass another folder, or delete it"
                )
            if last_boot != boot and alive:
                raise UsageError(
                    f"another host uses the cache in {self._folder}: pass a folder of "
                    "this host's own, on a local disk"
                )
            if last_boot != boot or not boot:
                self._check_all(ledger)
                ledger.note_boot(boot)
            return ledger
        except sqlite3.DatabaseError as error:
            if ledger is not None:
                ledger.close()
            # A disk that is full, or a lock, is no damage.
            if alive or isinstance(error, sqlite3.OperationalError):
                raise
            _LOG.warning(
                "the ledger of the cache in %s is damaged (%s): the cache begins empty",
                self._folder,
                error,
            )
            self._delete_all()
            ledger = Ledger(self._folder)
            ledger.note_boot(boot)
            return ledger

    def _delete_all(self) -> None:
        for name in ("ledger", "ledger-wal", "ledger-shm"):
            path = os.path.join(self._folder, name)
            if os.path.exists(path):
                os.unlink(path)
        blocks = os.path.join(self._folder, "blocks")
        shutil.rmtree(blocks)
        self._files = BlockFiles(blocks)

    def _check_all(self, ledger: Ledger) -> None:
        """Compares the ledger with the files, after a crash of the machine."""
        if not ledger.is_sound:
            raise sqlite3.DatabaseError("SQLite finds damage")
        spaces = ledger.spaces()
        found = dict(self._files.scan())
        for block in found.keys() - spaces.keys():
            self._files.remove(block)
        with ledger.change():
            ledger.forget(list(spaces.keys() - found.keys()))
            both = found.keys() & spaces.keys()
            ledger.set_spaces([(found[block], block) for block in both])

    def _clear(self, ledger: Ledger, alive: set[str]) -> None:
        """Clears what killed processes left: reservations, and files half deleted."""
        for user in ledger.users() - alive:
            self._evict(ledger, user)
            with ledger.change():
                self._release(ledger, ledger.reserved_by(user))
                ledger.leave(user)

    def _release(self, ledger: Ledger, reserved: Iterable[tuple[int, int]]) -> None:
        """Ends reservations; deletes files of which nothing was kept."""
        for reservation, block in reserved:
            if ledger.release(reservation, block, self._files.space(block)):
                self._files.remove(block)

    def _shrink(self, ledger: Ledger, user: str) -> None:
        """Evicts what a run with a larger bound has left above this one."""
        while (excess := -self._free(ledger)) > 0:
            with ledger.change():
                live = [run.id for run in ledger.live_runs()]
                rows = ledger.unplanned(live, _EVICTED_AT_ONCE)
                for run in live:
                    rows += ledger.latest(run, _EVICTED_AT_ONCE)
                before = itertools.accumulate((row.bytes for row in rows), initial=0)
                victims = [
                    row.id
                    for row, sum_ in zip(rows, before, strict=False)
                    if sum_ < excess
                ]
                ledger.mark_leaving(victims, user)
            if not victims:
                return
            self._evict(ledger, user)

    def _evict(self, ledger: Ledger, user: str) -> None:
        """Deletes the blocks that are marked to leave."""
        with ledger.change():
            leaving = ledger.leaving(user)
            for block in leaving:
                self._files.remove(block)
            ledger.forget(leaving)

    # Reading.

    def _load(self, pieces: Sequence[Piece], clock: int) -> list[bytes | None]:
        session = self._current()
        if session is None:
            return [None] * len(pieces)
        blocks: dict[tuple[int, int], Any] = {}
        with session.lock:
            for piece in pieces:
                key = self._key(session, piece)
                if key not in blocks:
                    blocks[key] = session.ledger.find(*key)
        data: list[bytes | None] = []
        used: dict[int, int] = {}
        for piece in pieces:
            block = blocks[self._key(session, piece)]
            found = None
            if block is not None:
                found = self._read(session, block[0], block[2], piece)
            if found is not None:
                used[block[0]] = piece.block
            data.append(found)
        if used and self._can_store:
            self._used.append(_Used(used, clock))
            self._work()
        return data

    def _key(self, session: _Session, piece: Piece) -> tuple[int, int]:
        return session.shards[piece.file], piece.block - self._first[piece.file]

    def _read(
        self, session: _Session, block: int, kept: Sequence[Kept], piece: Piece
    ) -> bytes | None:
        parts = found_in(kept, piece.begin, piece.end)
        if parts is None:
            return None
        data = self._files.read(block, parts)
        if data is None:  # Another process has evicted the block.
            return None
        if len(data) == piece.end - piece.begin and is_intact(data):
            return data
        self.damaged += 1
        _LOG.warning(
            "bytes %d to %d of %s are damaged in the cache in %s: fetching them again",
            piece.begin,
            piece.end,
            self._index.files[piece.file].path,
            self._folder,
        )
        if self._can_store:
            with session.lock, session.ledger.change():
                for part in parts:
                    session.ledger.drop(block, part)
        return None

    def _note_used(self, used: dict[int, int], clock: int) -> None:
        session = self._current()
        if session is None:
            return
        numbers = np.array(list(used.values()), np.int64)
        with session.lock:
            plan = self._renewed(session, clock)
            uses = plan.after(numbers, clock, time.time())
            with session.ledger.change():
                session.ledger.set_clock(plan.run.id, clock)
                session.ledger.plan(
                    [(plan.run.id, *pair) for pair in zip(uses, used, strict=True)]
                )

    def _renewed(self, session: _Session, clock: int) -> Plan:
        """Returns the plan, for the hosts that use the cache now."""
        run = session.ledger.run(self._run)
        if run is not None:
            hosts = session.ledger.hosts(self._run)
            session.plan.renew(run, hosts)
        session.plan.advance(clock)
        return session.plan

    # Writing.

    def _store(self, fetched: Sequence[tuple[Piece, Any]], clock: int) -> None:
        session = self._current()
        if session is None:
            return
        now = time.time()
        with session.lock:
            plan = self._renewed(session, clock)
            new = self._new(session, plan, fetched, clock, now)
            if not new:
                return
            reserved = self._make_room(session, plan, new, clock, now)
        done = []
        try:
            for each, (reservation, block, offset) in reserved:
                space = self._files.append(block, offset, each.parts)
                done.append((reservation, block, _parts(each, offset), space, each))
        finally:
            with session.lock, session.ledger.change():
                for reservation, block, parts, space, each in done:
                    session.ledger.keep(reservation, block, parts, space)
                    session.ledger.plan([(plan.run.id, each.next_use, block)])
                self._release(
                    session.ledger, [held[:2] for _, held in reserved[len(done) :]]
                )

    def _new(
        self,
        session: _Session,
        plan: Plan,
        fetched: Sequence[tuple[Piece, Any]],
        clock: int,
        now: float,
    ) -> list[_New]:
        """Returns what is not in the cache yet, block by block, the soonest first."""
        numbers = np.array([piece.block for piece, _ in fetched], np.int64)
        uses = plan.again(numbers, clock, now)
        found: dict[tuple[int, int], _New] = {}
        kept: dict[tuple[int, int], list[Kept]] = {}
        for (piece, data), use in zip(fetched, uses, strict=True):
            view = memoryview(data)
            key = self._key(session, piece)
            if key not in kept:
                row = session.ledger.find(*key)
                kept[key] = [] if row is None else row[2]
                seconds = plan.seconds(use, plan.run, now) if self._run else 0.0
                found[key] = _New(seconds, use, *key, [], [])
            for begin, end in missing_from(kept[key], piece.begin, piece.end):
                found[key].ranges.append((begin, end))
                found[key].parts.append(
                    view[begin - piece.begin : end - piece.begin].cast("B")
                )
        new = [each for each in found.values() if each.size]
        return sorted(new, key=lambda each: each.seconds)

    def _make_room(
        self,
        session: _Session,
        plan: Plan,
        new: Sequence[_New],
        clock: int,
        now: float,
    ) -> list[tuple[_New, tuple[int, int, int]]]:
        """Evicts what is needed later, and reserves space.

        Returns:
            What is to be stored, and its reservations.
        """
        ledger, user = session.ledger, session.user.name
        with ledger.change():
            ledger.set_clock(plan.run.id, clock)
            need = sum(map(_space, new)) - self._free(ledger)
            if need <= 0:
                return self._reserved(ledger, user, new)
            waiting = plan.waiting(ledger, 64 + 2 * len(new), now)
            victims = _victims(new, waiting, self._free(ledger))
            ledger.mark_leaving(victims, user)
        if victims:
            self._evict(ledger, user)
        with ledger.change():
            return self._reserved(ledger, user, new)

    def _reserved(
        self, ledger: Ledger, user: str, new: Sequence[_New]
    ) -> list[tuple[_New, tuple[int, int, int]]]:
        reserved, free = [], self._free(ledger)
        for each in new:
            space = _space(each)
            if space <= free:
                found = ledger.reserve(each.shard, each.block, user, each.size, space)
                if found is not None:
                    reserved.append((each, found))
                    free -= space
        return reserved

    def _free(self, ledger: Ledger) -> int:
        """Returns the space that may still be reserved, in bytes."""
        self._measured += 1
        if self._measured % _MEASURE_EVERY == 0:
            self._folder_space = self._files.space_of_folders()
        taken = ledger.total + ledger.space() + self._folder_space + _ALLOWANCE
        return self._max_bytes - taken


def _by_clock(waiting: "deque[Any]") -> dict[int, list[Any]]:
    """Takes all that waits, and returns it by the clock."""
    found: dict[int, list[Any]] = {}
    for _ in range(len(waiting)):
        each = waiting.popleft()
        found.setdefault(each.clock, []).extend(each.items)
    return found


def _close(sessions: list[_Session]) -> None:
    """Ends the use of a cache by this process."""
    while sessions:
        session = sessions.pop()
        if session.process != os.getpid():
            _OF_PARENTS.append(session)
            continue
        with session.lock:
            # If it fails, it is as if this process had been killed.
            with contextlib.suppress(sqlite3.Error):
                session.ledger.leave(session.user.name)
                session.ledger.close()
            session.user.leave()


def _space(new: _New) -> int:
    # The file may end within a page already, and then needs one page less.
    return in_pages(new.size)


def _parts(new: _New, offset: int) -> list[Kept]:
    parts = []
    for begin, end in new.ranges:
        parts.append(Kept(begin, end, offset))
        offset += end - begin
    return parts


def _victims(new: Sequence[_New], waiting: Sequence[Waiting], free: int) -> list[int]:
    """Returns the blocks to evict for pieces that are needed sooner."""
    victims: list[int] = []
    rest = iter(waiting)
    for each in new:
        free -= _space(each)
        for_it: list[int] = []
        while free < 0:
            victim = next(rest, None)
            if victim is None or victim.seconds <= each.seconds:
                return victims
            for_it.append(victim.id)
            free += victim.bytes
        victims += for_it
    return victims


def _boot() -> str:
    """Returns a name of this boot of the machine; empty if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
