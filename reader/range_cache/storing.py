"""Stores pieces in a cache, in the place of such that are needed later."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reader.range_cache.block_files import in_pages
from reader.range_cache.blocks import Reservation
from reader.range_cache.eviction import Plan, Waiting
from reader.range_cache.pieces import Kept, Piece, missing_from
from reader.range_cache.session import Session

# Blocks to find victims among, besides two for each new one: files differ in size.
_LEAST_WAITING = 64


class _Now(NamedTuple):
    """When something is stored.

    Attributes:
        plan: When the run needs what.
        clock: Clock of the run, in examples.
        seconds: Seconds since 1970.
    """

    plan: Plan
    clock: int
    seconds: float


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
        """Bytes of all parts."""
        return sum(map(len, self.parts))

    @property
    def space(self) -> int:
        """Space on the disk to reserve, in bytes."""
        # The file may end within a page already, and then needs one page less.
        return in_pages(self.size)

    def kept_at(self, offset: int) -> list[Kept]:
        """Returns the parts, written one after another from an offset on."""
        kept = []
        for begin, end in self.ranges:
            kept.append(Kept(begin, end, offset))
            offset += end - begin
        return kept


def store_pieces(
    session: Session, fetched: Sequence[tuple[Piece, Any]], clock: int
) -> None:
    """Stores pieces, unless all there is will be needed sooner.

    Args:
        session: What this process has open.
        fetched: Pieces, and the bytes of each.
        clock: Begin of the window that they belong to, in examples of the run.
    """
    seconds = time.time()
    with session.lock:
        now = _Now(session.plan_at(clock), clock, seconds)
        new = _missing(session, now, fetched)
        reserved = _make_room(session, now, new) if new else []
    if reserved:
        _write(session, now.plan, reserved)


def _missing(
    session: Session, now: _Now, fetched: Sequence[tuple[Piece, Any]]
) -> list[_New]:
    """Returns what is not in the cache yet, block by block, the soonest first."""
    numbers = np.array([piece.block for piece, _ in fetched], np.int64)
    uses = now.plan.again(numbers, now.clock, now.seconds)
    new: dict[tuple[int, int], _New] = {}
    kept: dict[tuple[int, int], list[Kept]] = {}
    for (piece, data), use in zip(fetched, uses, strict=True):
        key = session.block_of(piece)
        if key not in new:
            found = session.ledger.blocks.find(*key)
            kept[key] = [] if found is None else found[1]
            wait = now.plan.seconds(use, now.plan.run, now.seconds)
            new[key] = _New(wait if session.run else 0.0, use, *key, [], [])
        view = memoryview(data)
        for begin, end in missing_from(kept[key], piece.begin, piece.end):
            part = view[begin - piece.begin : end - piece.begin].cast("B")
            new[key].ranges.append((begin, end))
            new[key].parts.append(part)
    some = [each for each in new.values() if each.size]
    return sorted(some, key=lambda each: each.seconds)


def _make_room(
    session: Session, now: _Now, new: Sequence[_New]
) -> list[tuple[_New, Reservation]]:
    """Evicts what is needed later, and reserves space.

    Returns:
        What is to be stored, and its reservations.
    """
    ledger, space = session.ledger, session.space
    with ledger.change():
        ledger.runs.set_clock(now.plan.run.id, now.clock)
        if sum(each.space for each in new) <= space.free():
            return _reserved(session, new)
        num = _LEAST_WAITING + 2 * len(new)
        waiting = now.plan.waiting(ledger, num, now.seconds)
        victims = _victims(new, waiting, space.free())
        ledger.blocks.mark_leaving(victims, session.user.name)
    if victims:
        space.evict(session.user.name)
    with ledger.change():
        return _reserved(session, new)


def _victims(new: Sequence[_New], waiting: Sequence[Waiting], free: int) -> list[int]:
    """Returns the blocks to evict for pieces that are needed sooner."""
    victims: list[int] = []
    rest = iter(waiting)
    for each in new:
        free -= each.space
        for_it: list[int] = []
        while free < 0:
            victim = next(rest, None)
            if victim is None or victim.seconds <= each.seconds:
                return victims
            for_it.append(victim.id)
            free += victim.bytes
        victims += for_it
    return victims


def _reserved(session: Session, new: Sequence[_New]) -> list[tuple[_New, Reservation]]:
    """Reserves the space that is free, for what is needed soonest."""
    reserved, free = [], session.space.free()
    for each in new:
        if each.space <= free:
            found = session.ledger.blocks.reserve(
                each.shard, each.block, session.user.name, each.size, each.space
            )
            if found is not None:
                reserved.append((each, found))
                free -= each.space
    return reserved


def _write(
    session: Session, plan: Plan, reserved: Sequence[tuple[_New, Reservation]]
) -> None:
    """Writes what space is reserved for; keeps what was written when that fails."""
    spaces: list[int] = []
    try:
        for each, place in reserved:
            spaces.append(session.files.append(place.block, place.offset, each.parts))
    finally:
        blocks = session.ledger.blocks
        with session.lock, session.ledger.change():
            for (each, place), space in zip(reserved, spaces, strict=False):
                blocks.keep(place, each.kept_at(place.offset), space)
                blocks.plan([(plan.run.id, each.next_use, place.block)])
            session.space.release(place for _, place in reserved[len(spaces) :])
