"""Users of a cache and their runs, in the ledger."""

import sqlite3
from typing import NamedTuple


class RunRow(NamedTuple):
    """A run, with the hosts that use the cache; a new one for each that joins.

    Attributes:
        id: Number of the run. The largest of a name is the current one.
        name: Digest of the run's order; empty without a plan.
        clock: Clock of the run, in examples.
        begun_clock: Clock when it began.
        begun: When it began, in seconds since 1970.
    """

    id: int
    name: str
    clock: int
    begun_clock: int
    begun: float


class Runs:
    """The tables of users and runs."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Takes the open database."""
        self._db = database

    def users(self) -> set[str]:
        """Returns the names of all users that have not left."""
        return {name for (name,) in self._db.execute("SELECT name FROM users")}

    def join(self, user: str, run: str, host: int, clock: int, now: float) -> None:
        """Adds a user and starts a new run, so that all blocks are planned again.

        Args:
            user: Name of the user.
            run: Name of its run; empty without a plan.
            host: Index of its host in the run.
            clock: Clock of the run, if no other user runs it.
            now: Seconds since 1970.
        """
        going = self.current(run) if self.hosts(run) else None
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
        found = self._db.execute(
            "SELECT DISTINCT host FROM users WHERE run = ?", (run,)
        )
        return [host for (host,) in found.fetchall()]

    def current(self, name: str) -> RunRow | None:
        """Returns the current run of a name."""
        found = self._db.execute(
            "SELECT id, name, clock, begun_clock, begun FROM runs WHERE name = ? "
            "ORDER BY id DESC LIMIT 1",
            (name,),
        ).fetchone()
        return RunRow(*found) if found else None

    def live(self) -> list[RunRow]:
        """Returns the current run of each name that has users."""
        names = self._db.execute("SELECT DISTINCT run FROM users").fetchall()
        found = [self.current(name) for (name,) in names]
        return [run for run in found if run is not None]

    def set_clock(self, run: int, clock: int) -> None:
        """Moves the clock of a run ahead."""
        self._db.execute(
            "UPDATE runs SET clock = ? WHERE id = ? AND clock < ?", (clock, run, clock)
        )
