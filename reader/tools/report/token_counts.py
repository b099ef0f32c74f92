"""Captions → how often each token occurs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import Tokenizer
from reader.shuffle.arrays import Int64s

# Tokenizing takes 3 to 60 µs for each: a minute at the most.
MOST_CAPTIONS = 1_000_000
_NUM_SHOWN = 40


class TokenCount(NamedTuple):
    """A token, how often it occurs, and whether it stands for the unknown."""

    text: str
    id: int
    times: int
    unknown: bool


class Vocabulary(NamedTuple):
    """What a tokenizer's vocabulary is used for.

    Attributes:
        size: Ids that there are.
        num_captions: That were counted: all, or every so many of them.
        num_tokens: In these.
        num_unknown: Tokens that stand for what is outside the vocabulary.
        num_used: Different tokens that occur.
        num_once: Different tokens that occur a single time.
        frequent: The most frequent tokens, the most frequent first.
        rare: The rarest that do occur, the rarest first.
    """

    size: int
    num_captions: int
    num_tokens: int
    num_unknown: int
    num_used: int
    num_once: int
    frequent: tuple[TokenCount, ...]
    rare: tuple[TokenCount, ...]


class TokenCounter:
    """Counts the tokens of captions, of every caption or of every so many."""

    def __init__(self, tokenizer: Tokenizer, num_captions: int) -> None:
        """Takes how many captions will come: if they are many, some are passed over."""
        self._tokenizer = tokenizer
        self._stride = max(1, -(-num_captions // MOST_CAPTIONS))
        self._counts = np.zeros(tokenizer.vocab_size, np.int64)
        self._seen = 0
        self._counted = 0

    def add(self, captions: Sequence[str]) -> None:
        """Counts some more captions."""
        chosen = captions[-self._seen % self._stride :: self._stride]
        ids = [id_ for caption in chosen for id_ in self._tokenizer.encode(caption)]
        counts = np.bincount(np.array(ids, np.int64), minlength=len(self._counts))
        self._counts += counts
        self._seen += len(captions)
        self._counted += len(chosen)

    def vocabulary(self, spec: TokenizerSpec) -> Vocabulary:
        """Returns what was counted; of equally frequent tokens, low ids are first."""
        counts = self._counts
        used = np.flatnonzero(counts)
        falling = used[np.argsort(-counts[used], kind="stable")]
        # A small vocabulary need not be listed twice.
        num_frequent = min(_NUM_SHOWN, -(-len(used) // 2))
        num_rare = min(_NUM_SHOWN, len(used) - num_frequent)
        unknown = 0 if spec.unknown_id is None else int(counts[spec.unknown_id])
        return Vocabulary(
            size=len(counts),
            num_captions=self._counted,
            num_tokens=int(counts.sum()),
            num_unknown=unknown,
            num_used=len(used),
            num_once=int((counts == 1).sum()),
            frequent=self._shown(falling[:num_frequent], spec),
            rare=self._shown(falling[::-1][:num_rare], spec),
        )

    def _shown(self, ids: Int64s, spec: TokenizerSpec) -> tuple[TokenCount, ...]:
        return tuple(
            TokenCount(
                self._tokenizer.token(id_),
                id_,
                int(self._counts[id_]),
                id_ == spec.unknown_id,
            )
            for id_ in ids.tolist()
        )
