"""Counts the tokens of captions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import Tokenizer
from reader.shuffle.arrays import Int64s

# Tokenizing takes 3 to 60 µs per caption, so at most a minute.
MOST_CAPTIONS = 1_000_000
_NUM_SHOWN = 40


class TokenCount(NamedTuple):
    """A token and its count.

    Attributes:
        text: Spelling of the token.
        id: Token id.
        times: Number of occurrences.
        unknown: Whether the token stands for out-of-vocabulary words.
    """

    text: str
    id: int
    times: int
    unknown: bool


class Vocabulary(NamedTuple):
    """Usage of a tokenizer's vocabulary.

    Attributes:
        size: Number of token ids.
        num_captions: Number of captions counted: all, or an even sample.
        num_tokens: Number of tokens in those captions.
        num_unknown: Number of out-of-vocabulary tokens.
        num_used: Number of distinct tokens that occur.
        num_once: Number of distinct tokens that occur once.
        frequent: Most frequent tokens, the most frequent first.
        rare: Least frequent tokens that occur, the rarest first.
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
    """Counts the tokens of all captions, or of every n-th caption if there are many."""

    def __init__(self, tokenizer: Tokenizer, num_captions: int) -> None:
        """Creates a counter without counts.

        Args:
            tokenizer: Tokenizer of the captions.
            num_captions: Total number of captions that `add` will receive; above
                `MOST_CAPTIONS`, only every n-th caption is counted.
        """
        self._tokenizer = tokenizer
        self._stride = max(1, -(-num_captions // MOST_CAPTIONS))
        self._counts = np.zeros(tokenizer.vocab_size, np.int64)
        self._seen = 0
        self._counted = 0

    def add(self, captions: Sequence[str]) -> None:
        """Counts the tokens of more captions."""
        chosen = captions[-self._seen % self._stride :: self._stride]
        ids = [id_ for caption in chosen for id_ in self._tokenizer.encode(caption)]
        counts = np.bincount(np.array(ids, np.int64), minlength=len(self._counts))
        self._counts += counts
        self._seen += len(captions)
        self._counted += len(chosen)

    def vocabulary(self, spec: TokenizerSpec) -> Vocabulary:
        """Returns a summary of the counts, with the most and least frequent tokens."""
        counts = self._counts
        used = np.flatnonzero(counts)
        falling = used[np.argsort(-counts[used], kind="stable")]
        # Avoids listing a token twice if the vocabulary is small.
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
