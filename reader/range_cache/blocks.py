"""Blocks of which there are pieces, and space reserved for more, in the ledger."""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from reader.range_cache.pieces import Kept, dump_kept, parse_kept


class BlockRow(NamedTuple):
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


class Reservation(NamedTuple):
    """Space at the end of a block's file.

    Attributes:
        id: Number of the reservation.
        block: Number of the block in the ledger.
        offset: Byte offset in the file to write at.
    """

    id: int
    block: int
    offset: int


class Blocks:
    """The tables of blocks and reservations."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Takes the open database."""
        self._db = database

    def _all(self, query: str, *values: Any) -> list[Any]:
        return self._db.execute(query, values).fetchall()

    def find(self, shard: int, block: int) -> tuple[int, list[Kept]] | None:
        """Returns the number and the parts of a block that does not leave.

        Args:
            shard: Number of the shard in the ledger.
            block: Number of the block in its shard.
        """
        found = self._all(
            "SELECT id, kept FROM blocks "
            "WHERE shard = ? AND block = ? AND leaving IS NULL",
            shard,
            block,
        )
        return (found[0][0], parse_kept(found[0][1])) if found else None

    def drop(self, block: int, part: Kept) -> None:
        """Takes a part of a block out, since its bytes are damaged."""
        found = self._all("SELECT kept FROM blocks WHERE id = ?", block)
        for (kept,) in found:
            left = [each for each in parse_kept(kept) if _are_apart(each, part)]
            self._db.execute(
                "UPDATE blocks SET kept = ? WHERE id = ?", (dump_kept(left), block)
            )

    # When blocks are needed.

    def plan(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Sets when blocks are needed next: (run, next use, number of the block)."""
        self._db.executemany(
            "UPDATE blocks SET run = ?, next_use = ? WHERE id = ?", uses
        )

    def latest(self, run: int, num: int) -> list[BlockRow]:
        """Returns the blocks of a run that are needed latest, the last of all first."""
        return self._rows("run = ?", "next_use DESC", num, run)

    def overdue(self, run: int, clock: int, num: int) -> list[BlockRow]:
        """Returns blocks that were not used when they were expected to be."""
        return self._rows("run = ? AND next_use < ?", "next_use", num, run, clock)

    def unplanned(self, live: Sequence[int], num: int) -> list[BlockRow]:
        """Returns blocks of runs that have ended."""
        rows: list[BlockRow] = []
        run = -1
        while len(rows) < num:
            ((run,),) = self._all("SELECT min(run) FROM blocks WHERE run > ?", run)
            if run is None:
                break
            if run not in live:
                rows += self.latest(run, num - len(rows))
        return rows

    def _rows(self, where: str, order: str, num: int, *values: Any) -> list[BlockRow]:
        query = (
            f"SELECT id, shard, block, bytes, run, next_use FROM blocks WHERE {where} "
            "AND leaving IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM reserved WHERE reserved.block = blocks.id) "
            f"ORDER BY {order} LIMIT ?"
        )
        return [BlockRow(*row) for row in self._all(query, *values, num)]

    # Blocks that leave.

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

    # Space.

    def reserve(
        self, shard: int, block: int, user: str, size: int, space: int
    ) -> Reservation | None:
        """Reserves space at the end of a block's file; None if the block leaves.

        Args:
            shard: Number of the shard in the ledger.
            block: Number of the block in its shard.
            user: Name of the user.
            size: Bytes to write.
            space: Space to reserve, in bytes.
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
        return Reservation(int(reservation or 0), int(number or 0), tail)

    def keep(self, reserved: Reservation, parts: Sequence[Kept], space: int) -> None:
        """Adds parts that were written to a block, and ends the reservation.

        Args:
            reserved: The reservation.
            parts: Parts that were written.
            space: Space that the file takes on the disk, in bytes.
        """
        for kept, before in self._all(
            "SELECT kept, bytes FROM blocks WHERE id = ?", reserved.block
        ):
            have = parse_kept(kept)
            # Another process may have written the same meanwhile.
            new = [part for part in parts if all(_are_apart(part, one) for one in have)]
            self._db.execute(
                "UPDATE blocks SET kept = ?, bytes = ? WHERE id = ?",
                (dump_kept(sorted(have + new)), max(space, before), reserved.block),
            )
        self._db.execute("DELETE FROM reserved WHERE id = ?", (reserved.id,))

    def release(self, reserved: Reservation, space: int) -> bool:
        """Ends a reservation of which nothing is kept.

        Args:
            reserved: The reservation.
            space: Space that the file takes on the disk, in bytes.

        Returns:
            Whether nothing else of the block is kept or reserved either. Its file is to
            be deleted within the same change.
        """
        self.keep(reserved, [], space)
        self._db.execute(
            "DELETE FROM blocks WHERE id = ? AND length(kept) = 0 AND NOT EXISTS "
            "(SELECT 1 FROM reserved WHERE block = blocks.id)",
            (reserved.block,),
        )
        return not self._all("SELECT 1 FROM blocks WHERE id = ?", reserved.block)

    def reserved_by(self, user: str) -> list[Reservation]:
        """Returns the reservations of a user that was killed: offsets are not known."""
        found = self._all("SELECT id, block, 0 FROM reserved WHERE user = ?", user)
        return [Reservation(*row) for row in found]

    def spaces(self) -> dict[int, int]:
        """Returns the space that each block takes on the disk, in bytes."""
        return dict(self._all("SELECT id, bytes FROM blocks"))

    def set_spaces(self, spaces: Sequence[tuple[int, int]]) -> None:
        """Sets the space that blocks take on the disk: (bytes, number)."""
        self._db.executemany("UPDATE blocks SET bytes = ? WHERE id = ?", spaces)


def _are_apart(part: Kept, other: Kept) -> bool:
    return part.end <= other.begin or part.begin >= other.end
