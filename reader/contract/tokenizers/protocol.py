"""The interface of all tokenizers, and helpers that several kinds share."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

from reader.contract.errors import UsageError
from reader.contract.manifest import TokenizerSpec


class Tokenizer(Protocol):
    """The interface of every tokenizer, used by the job and the reader."""

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, without pad, start and end.

        Raises:
            UsageError: An id is not below `vocab_size`.
        """

    def token(self, id_: int) -> str:
        """Returns a token as written in the tokenizer's file, including special tokens.

        The result is for display. Use `decode` to get text.

        Raises:
            UsageError: The id is not below `vocab_size`.
        """


def sha256_hex(data: bytes) -> str:
    """Returns the SHA-256 of a tokenizer's file in hex, as in the manifest."""
    return hashlib.sha256(data).hexdigest()


def text_ids(
    ids: Iterable[int], spec: TokenizerSpec, *, own_pad: bool = True
) -> list[int]:
    """Returns the ids of text tokens: without pad, start and end.

    Args:
        ids: Token ids, of any integer type.
        spec: Manifest entry of the tokenizer, with the special ids.
        own_pad: Whether the pad id is a pad token only. If it is also the id of a text
            token, the caption ends at the end id, and a pad id before it is text.

    Raises:
        UsageError: An id is not below the tokenizer's `vocab_size`.
    """
    plain = [checked_id(int(id_), spec.vocab_size) for id_ in ids]
    if own_pad:
        special = {spec.pad_id, spec.start_id, spec.end_id}
        return [id_ for id_ in plain if id_ not in special]
    if plain[:1] == [spec.start_id]:
        del plain[0]
    if spec.end_id in plain:
        del plain[plain.index(spec.end_id) :]
    return [id_ for id_ in plain if id_ != spec.start_id]


def checked_id(id_: int, vocab_size: int) -> int:
    """Returns an id after checking that it is in the vocabulary.

    Raises:
        UsageError: The id is negative or not below `vocab_size`.
    """
    if not 0 <= id_ < vocab_size:
        raise UsageError(f"an id must be from 0 to {vocab_size - 1}, got {id_}")
    return id_
