"""The ledger of a cache: SQLite, one row for each block of which there are pieces.

Every byte on the disk is in a row or in a reservation before it is written, and totals
are kept by triggers, so whatever is killed when, the sum is an upper bound. A file is
deleted after its row says that it leaves, and before the row is.

SQLite does not sync: after a crash of the machine, the whole ledger is checked.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from reader.range_cache.block_files import space_of
from reader.range_cache.blocks import Blocks
from reader.range_cache.runs import Runs

VERSION = 1
# Seconds to wait for another process that writes to the ledger.
_TIMEOUT = 30

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


class Ledger:
    """An open ledger. Callers hold a lock: one thread at a time uses it.

    Attributes:
        runs: Users, and their runs.
        blocks: Blocks, and space that is reserved.
    """

    def __init__(self, folder: str) -> None:
        """Opens the ledger, or creates it.

        Args:
            folder: Folder of the ledger.

        Raises:
            sqlite3.Error: The ledger is damaged, or cannot be written.
        """
        self._paths = ledger_paths(folder)
        self._db = sqlite3.connect(
            self._paths[0],
            timeout=_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        self.runs, self.blocks = Runs(self._db), Blocks(self._db)
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

    def _all(self, query: str) -> list[Any]:
        return self._db.execute(query).fetchall()

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

    def number_shards(self, names: Sequence[str]) -> list[int]:
        """Returns the number of each shard; new ones are added."""
        with self.change():
            self._db.executemany(
                "INSERT OR IGNORE INTO shards (name) VALUES (?)",
                ((name,) for name in names),
            )
        find = "SELECT id FROM shards WHERE name = ?"
        return [self._db.execute(find, (name,)).fetchone()[0] for name in names]


def ledger_paths(folder: str) -> list[str]:
    """Returns the paths of the files of a ledger, the database first."""
    names = ("ledger", "ledger-wal", "ledger-shm")
    return [os.path.join(folder, name) for name in names]
