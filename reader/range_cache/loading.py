"""Loads pieces from a cache, and notes that they were used."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.range_cache.pieces import Kept, Piece, found_in, is_intact
from reader.range_cache.session import Session


class Damage(NamedTuple):
    """Bytes in the cache that are not those of a piece.

    Attributes:
        piece: The piece.
        block: Number of its block in the ledger.
        parts: Parts of the block's file that the bytes are in.
    """

    piece: Piece
    block: int
    parts: list[Kept]


class Loaded(NamedTuple):
    """What a cache has of some pieces.

    Attributes:
        data: Bytes of each piece; None if they are missing or damaged.
        used: Blocks that were read: by the number in the ledger, that in the index.
        damage: What was damaged.
    """

    data: list[bytes | None]
    used: dict[int, int]
    damage: list[Damage]


def load_pieces(session: Session, pieces: Sequence[Piece]) -> Loaded:
    """Returns what the cache has of some pieces.

    Args:
        session: What this process has open.
        pieces: Pieces to read.
    """
    keys = [session.block_of(piece) for piece in pieces]
    with session.lock:
        blocks = {key: session.ledger.blocks.find(*key) for key in dict.fromkeys(keys)}
    loaded = Loaded([], {}, [])
    for piece, key in zip(pieces, keys, strict=True):
        found = blocks[key]
        data = None if found is None else _read(session, *found, piece, loaded.damage)
        if found is not None and data is not None:
            loaded.used[found[0]] = piece.block
        loaded.data.append(data)
    return loaded


def _read(
    session: Session,
    block: int,
    kept: Sequence[Kept],
    piece: Piece,
    damage: list[Damage],
) -> bytes | None:
    """Returns a piece if all of it is in a block's file; notes damage."""
    parts = found_in(kept, piece.begin, piece.end)
    if parts is None:
        return None
    data = session.files.read(block, parts)
    if data is None:  # Another process has evicted the block.
        return None
    if len(data) == piece.end - piece.begin and is_intact(data):
        return data
    damage.append(Damage(piece, block, parts))
    return None


def drop_damaged(session: Session, damage: Sequence[Damage]) -> None:
    """Takes what is damaged out of the cache."""
    with session.lock, session.ledger.change():
        for one in damage:
            for part in one.parts:
                session.ledger.blocks.drop(one.block, part)


def note_used(session: Session, used: dict[int, int], clock: int) -> None:
    """Sets when blocks that were read are needed next.

    Args:
        session: What this process has open.
        used: Numbers of the blocks in the ledger, and in the index.
        clock: Begin of the window that they were read for, in examples of the run.
    """
    numbers = np.array(list(used.values()), np.int64)
    with session.lock:
        plan = session.plan_at(clock)
        uses = plan.after(numbers, clock, time.time())
        with session.ledger.change():
            session.ledger.runs.set_clock(plan.run.id, clock)
            session.ledger.blocks.plan(
                [(plan.run.id, *pair) for pair in zip(uses, used, strict=True)]
            )
