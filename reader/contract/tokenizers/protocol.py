"""What every tokenizer offers, and what several kinds of them share."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

from reader.contract.errors import UsageError
from reader.contract.manifest import TokenizerSpec


class Tokenizer(Protocol):
    """What the job and the reader ask of any tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""

    def decode(self, ids: Iterable[int]) -> str:
        """Returns text again; pad, start and end are left out.

        Raises:
            UsageError: An id is not of this tokenizer.
        """

    def token(self, id_: int) -> str:
        """Returns how the tokenizer's file spells a token, special ones too.

        For people to look at: `decode` gives text.

        Raises:
            UsageError: The id is not of this tokenizer.
        """


def sha256_hex(data: bytes) -> str:
    """Returns the SHA-256 of a tokenizer's file, as the manifest holds it."""
    return hashlib.sha256(data).hexdigest()


def text_ids(
    ids: Iterable[int], spec: TokenizerSpec, *, own_pad: bool = True
) -> list[int]:
    """Returns the ids that stand for text: without pad, start and end.

    Args:
        ids: Of whatever integer type.
        spec: Says which ids are special.
        own_pad: Whether the pad stands for nothing else. Where it does, a caption ends
            at its end, and the pad's id before that is text.

    Raises:
        UsageError: An id is not of this tokenizer.
    """
    plain = [checked_id(int(id_), spec.vocab_size) for id_ in ids]
    if own_pad:
        silent = {spec.pad_id, spec.start_id, spec.end_id}
        return [id_ for id_ in plain if id_ not in silent]
    if plain[:1] == [spec.start_id]:
        del plain[0]
    if spec.end_id in plain:
        del plain[plain.index(spec.end_id) :]
    return [id_ for id_ in plain if id_ != spec.start_id]


def checked_id(id_: int, vocab_size: int) -> int:
    """Returns an id that a tokenizer may have.

    Raises:
        UsageError: It is not one.
    """
    if not 0 <= id_ < vocab_size:
        raise UsageError(f"an id must be from 0 to {vocab_size - 1}, got {id_}")
    return id_
