"""The ledger of a cache: SQLite, one row for each block of which there are pieces.

Every byte on the disk is in a row or in a reservation before it is written, and totals
are kept by triggers, so whatever is killed when, the sum is an upper bound. A file is
deleted after its row says that it leaves, and before the row is.

SQLite does not sync: a ledger from before a crash of the machine is checked as a whole.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from reader.range_cache.block_files import space_of
from reader.range_cache.pieces import Kept, dump_kept, parse_kept

VERSION = 1
# Seconds to wait for another process that writes to the ledger.
_TIMEOUT = 30
_LEDGER_FILES = ("ledger", "ledger-wal", "ledger-shm")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (version INTEGER, boot TEXT);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER);
CREATE TABLE IF NOT EXISTS shards (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, planned INTEGER, clock INTEGER,
    begun_clock INTEGER, begun REAL);
CREATE INDEX IF NOT EXISTS runs_by_name ON runs (name, id);
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, run TEXT, host INTEGER);
CREATE TABLE IF NOT EXISTS blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER, block INTEGER, kept BLOB,
    tail INTEGER, bytes INTEGER, run INTEGER, next_use INTEGER, leaving TEXT,
    UNIQUE (shard, block));
CREATE INDEX IF NOT EXISTS blocks_by_use ON blocks (run, next_use);
CREATE INDEX IF NOT EXISTS blocks_leaving ON blocks (leaving)
    WHERE leaving IS NOT NULL;
CREATE TABLE IF NOT EXISTS reserved (
    id INTEGER PRIMARY KEY, block INTEGER, user TEXT, bytes INTEGER);
CREATE INDEX IF NOT EXISTS reserved_by_block ON reserved (block);
"""
_TRIGGERS = "".join(
    f"""
CREATE TRIGGER IF NOT EXISTS {table}_{name} AFTER {event} ON {table} BEGIN
    UPDATE total SET bytes = bytes {change}; END;
"""
    for table in ("blocks", "reserved")
    for name, event, change in (
        ("added", "INSERT", "+ NEW.bytes"),
        ("changed", "UPDATE OF bytes", "+ NEW.bytes - OLD.bytes"),
        ("removed", "DELETE", "- OLD.bytes"),
    )
)


class Row(NamedTuple):
    """A block of which there are pieces.

    Attributes:
        id: Number of the row, and of the file.
        shard: Number of the shard in the ledger.
        block: Number of the block in its shard.
        bytes: Space that its file takes on the disk.
        run: Number of the run that set `next_use`.
        next_use: When it is needed next, by the clock of that run; `NEVER` minus
            the milliseconds since 1970 of its last use if that is not known.
    """

    id: int
    shard: int
    block: int
    bytes: int
    run: int
    next_use: int


class RunRow(NamedTuple):
    """A run, with the hosts that use the cache; a new one for each that joins.

    Attributes:
        id: Number of the run. The largest of a name is the current one.
        name: Digest of the run's order; empty without a plan.
        clock: Clock of the run.
        begun_clock: Clock when it began.
        begun: When it began, in seconds since 1970.
    """

    id: int
    name: str
    clock: int
    begun_clock: int
    begun: float


class Ledger:
    """An open ledger. Callers hold a lock: one thread at a time uses it."""

    def __init__(self, folder: str) -> None:
        """Opens the ledger, or creates it.

        Args:
            folder: Folder of the ledger.

        Raises:
            sqlite3.Error: The ledger is damaged, or cannot be written.
        """
        self._paths = [os.path.join(folder, name) for name in _LEDGER_FILES]
        self._db = sqlite3.connect(
            self._paths[0],
            timeout=_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = OFF",
            "wal_autocheckpoint = 128",
            "journal_size_limit = 524288",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA + _TRIGGERS)
        with self.change():
            if not self._all("SELECT * FROM total"):
                self._db.execute("INSERT INTO total VALUES (0)")
                self._db.execute("INSERT INTO about VALUES (?, '')", (VERSION,))

    def close(self) -> None:
        """Closes the ledger."""
        self._db.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Makes one change of what the block does, which no other process is amid."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _all(self, query: str, *values: Any) -> list[Any]:
        return self._db.execute(query, values).fetchall()

    def space(self) -> int:
        """Returns the space on the disk that the ledger itself takes, in bytes."""
        space = 0
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                space += space_of(os.stat(path))
        return space

    @property
    def total(self) -> int:
        """Space that all blocks take, and that is reserved, in bytes."""
        return int(self._all("SELECT bytes FROM total")[0][0])

    @property
    def about(self) -> tuple[int, str]:
        """Version of the ledger, and the boot of the machine that wrote it."""
        version, boot = self._all("SELECT version, boot FROM about")[0]
        return version, boot

    def note_boot(self, boot: str) -> None:
        """Sets the boot of the machine that writes the ledger."""
        self._db.execute("UPDATE about SET boot = ?", (boot,))

    @property
    def is_sound(self) -> bool:
        """Whether SQLite finds no damage; reads all of the ledger."""
        return bool(self._all("PRAGMA integrity_check(1)") == [("ok",)])

    # Users and runs.

    def users(self) -> set[str]:
        """Returns the names of all users that have not left."""
        return {name for (name,) in self._all("SELECT name FROM users")}

    def join(self, user: str, run: str, host: int, clock: int, now: float) -> None:
        """Adds a user; its run becomes a new one, with all blocks planned again.

        Args:
            user: Name of the user.
            run: Name of its run; empty without a plan.
            host: Index of its host in the run.
            clock: Clock of the run, if no other user runs it.
            now: Seconds since 1970.
        """
        going = self.run(run) if self.hosts(run) else None
        begun = (clock, clock, now) if going is None else going[2:]
        self._db.execute("INSERT INTO users VALUES (?, ?, ?)", (user, run, host))
        self._db.execute(
            "INSERT INTO runs (name, planned, clock, begun_clock, begun) "
            "VALUES (?, ?, ?, ?, ?)",
            (run, run != "", *begun),
        )

    def leave(self, user: str) -> None:
        """Removes a user."""
        self._db.execute("DELETE FROM users WHERE name = ?", (user,))

    def hosts(self, run: str) -> list[int]:
        """Returns the hosts of a run that use the cache."""
        found = self._all("SELECT DISTINCT host FROM users WHERE run = ?", run)
        return [host for (host,) in found]

    def run(self, name: str) -> RunRow | None:
        """Returns the current run of a name."""
        found = self._all(
            "SELECT id, name, clock, begun_clock, begun FROM runs WHERE name = ? "
            "ORDER BY id DESC LIMIT 1",
            name,
        )
        return RunRow(*found[0]) if found else None

    def live_runs(self) -> list[RunRow]:
        """Returns the current run of each name that has users."""
        names = self._all("SELECT DISTINCT run FROM users")
        found = [self.run(name) for (name,) in names]
        return [run for run in found if run is not None]

    def set_clock(self, run: int, clock: int) -> None:
        """Moves the clock of a run ahead."""
        self._db.execute(
            "UPDATE runs SET clock = ? WHERE id = ? AND clock < ?", (clock, run, clock)
        )

    def number_shards(self, names: Sequence[str]) -> list[int]:
        """Returns the number of each shard; new ones are added."""
        with self.change():
            self._db.executemany(
                "INSERT OR IGNORE INTO shards (name) VALUES (?)",
                ((name,) for name in names),
            )
        find = "SELECT id FROM shards WHERE name = ?"
        return [self._db.execute(find, (name,)).fetchone()[0] for name in names]

    # Blocks.

    def find(self, shard: int, block: int) -> tuple[int, int, list[Kept]] | None:
        """Returns the number, the tail and the parts of a block that does not leave."""
        found = self._all(
            "SELECT id, tail, kept FROM blocks "
            "WHERE shard = ? AND block = ? AND leaving IS NULL",
            shard,
            block,
        )
        if not found:
            return None
        number, tail, kept = found[0]
        return number, tail, parse_kept(kept)

    def plan(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Sets when blocks are needed next: (run, next use, number of the block)."""
        self._db.executemany(
            "UPDATE blocks SET run = ?, next_use = ? WHERE id = ?", uses
        )

    def latest(self, run: int, num: int) -> list[Row]:
        """Returns the blocks of a run that are needed latest, the last of all first."""
        return self._rows("run = ?", "next_use DESC", num, run)

    def overdue(self, run: int, clock: int, num: int) -> list[Row]:
        """Returns blocks that were not used when they were expected to be."""
        return self._rows("run = ? AND next_use < ?", "next_use", num, run, clock)

    def unplanned(self, live: Sequence[int], num: int) -> list[Row]:
        """Returns blocks of runs that have ended."""
        rows: list[Row] = []
        run = -1
        while len(rows) < num:
            ((run,),) = self._all("SELECT min(run) FROM blocks WHERE run > ?", run)
            if run is None:
                break
            if run not in live:
                rows += self.latest(run, num - len(rows))
        return rows

    def _rows(self, where: str, order: str, num: int, *values: Any) -> list[Row]:
        query = (
            f"SELECT id, shard, block, bytes, run, next_use FROM blocks WHERE {where} "
            "AND leaving IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM reserved WHERE reserved.block = blocks.id) "
            f"ORDER BY {order} LIMIT ?"
        )
        return [Row(*row) for row in self._all(query, *values, num)]

    def mark_leaving(self, blocks: Sequence[int], user: str) -> None:
        """States that a user will delete the files of blocks."""
        self._db.executemany(
            "UPDATE blocks SET leaving = ? WHERE id = ?",
            ((user, block) for block in blocks),
        )

    def leaving(self, user: str) -> list[int]:
        """Returns the blocks whose files a user is to delete."""
        found = self._all("SELECT id FROM blocks WHERE leaving = ?", user)
        return [block for (block,) in found]

    def forget(self, blocks: Sequence[int]) -> None:
        """Deletes the rows of blocks, whose files are deleted."""
        self._db.executemany(
            "DELETE FROM blocks WHERE id = ?", ((block,) for block in blocks)
        )

    def drop(self, block: int, part: Kept) -> None:
        """Takes a part of a block out, since its bytes are damaged."""
        found = self._all("SELECT kept FROM blocks WHERE id = ?", block)
        for (kept,) in found:
            left = [
                each
                for each in parse_kept(kept)
                if each.end <= part.begin or each.begin >= part.end
            ]
            self._db.execute(
                "UPDATE blocks SET kept = ? WHERE id = ?", (dump_kept(left), block)
            )

    def reserve(
        self, shard: int, block: int, user: str, size: int, space: int
    ) -> tuple[int, int, int] | None:
        """Reserves space at the end of a block's file.

        Args:
            shard: Number of the shard in the ledger.
            block: Number of the block in its shard.
            user: Name of the user.
            size: Bytes to write.
            space: Space to reserve, in bytes.

        Returns:
            Number of the reservation, number of the block, and byte offset to write
            at; None if the block leaves.
        """
        found = self._all(
            "SELECT id, tail, leaving FROM blocks WHERE shard = ? AND block = ?",
            shard,
            block,
        )
        if found:
            number, tail, leaving = found[0]
            if leaving is not None:
                return None
            self._db.execute(
                "UPDATE blocks SET tail = ? WHERE id = ?", (tail + size, number)
            )
        else:
            tail = 0
            number = self._db.execute(
                "INSERT INTO blocks (shard, block, kept, tail, bytes, run, next_use) "
                "VALUES (?, ?, ?, ?, 0, 0, 0)",
                (shard, block, b"", size),
            ).lastrowid
        reservation = self._db.execute(
            "INSERT INTO reserved (block, user, bytes) VALUES (?, ?, ?)",
            (number, user, space),
        ).lastrowid
        return int(reservation or 0), int(number or 0), tail

    def keep(
        self, reservation: int, block: int, parts: Sequence[Kept], space: int
    ) -> None:
        """Adds parts that were written to a block, and ends the reservation.

        Args:
            reservation: Number of the reservation.
            block: Number of the block.
            parts: Parts that were written.
            space: Space that the file takes on the disk, in bytes.
        """
        for kept, before in self._all(
            "SELECT kept, bytes FROM blocks WHERE id = ?", block
        ):
            have = parse_kept(kept)
            # Another process may have written the same meanwhile.
            new = [
                part
                for part in parts
                if all(part.end <= one.begin or part.begin >= one.end for one in have)
            ]
            self._db.execute(
                "UPDATE blocks SET kept = ?, bytes = ? WHERE id = ?",
                (dump_kept(sorted(have + new)), max(space, before), block),
            )
        self._db.execute("DELETE FROM reserved WHERE id = ?", (reservation,))

    def release(self, reservation: int, block: int, space: int) -> bool:
        """Ends a reservation of which nothing is kept.

        Returns:
            Whether nothing else of the block is kept or reserved either. Its file is to
            be deleted within the same change.
        """
        self.keep(reservation, block, [], space)
        self._db.execute(
            "DELETE FROM blocks WHERE id = ? AND length(kept) = 0 AND NOT EXISTS "
            "(SELECT 1 FROM reserved WHERE block = blocks.id)",
            (block,),
        )
        return not self._all("SELECT 1 FROM blocks WHERE id = ?", block)

    def reserved_by(self, user: str) -> list[tuple[int, int]]:
        """Returns the reservations of a user: number, and number of the block."""
        return self._all("SELECT id, block FROM reserved WHERE user = ?", user)

    def spaces(self) -> dict[int, int]:
        """Returns the space that each block takes on the disk, in bytes."""
        return dict(self._all("SELECT id, bytes FROM blocks"))

    def set_spaces(self, spaces: Sequence[tuple[int, int]]) -> None:
        """Sets the space that blocks take on the disk: (bytes, number)."""
        self._db.executemany("UPDATE blocks SET bytes = ? WHERE id = ?", spaces)
