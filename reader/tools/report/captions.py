"""Converts the token ids of a caption to tokens for display."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import Tokenizer
from reader.decode.outputs import special_tokens
from reader.tools.report.display_text import shown

# Limits per caption, which keep the page small.
_MOST_TOKENS = 80
_MOST_CHARACTERS = 600
_LONGEST_TOKEN = 40


class Token(NamedTuple):
    """A token of a caption.

    Attributes:
        text: Spelling of the token in the tokenizer's file.
        id: Token id.
        kind: Kind of the token: `special` (start and end), `unknown`, `cut` (truncated
            by the reader) or `plain`.
    """

    text: str
    id: int
    kind: str


class Row(NamedTuple):
    """The tokens of a caption, as the reader delivers them to a model.

    Attributes:
        tokens: First tokens, including start and end tokens.
        num_hidden: Number of further tokens, which are not displayed.
        num_tokens: Number of tokens of the caption, without start and end.
        num_cut: Number of those tokens that the reader truncates.
    """

    tokens: tuple[Token, ...]
    num_hidden: int
    num_tokens: int
    num_cut: int


@dataclass(frozen=True)
class Spelling:
    """Converts ids to rows of tokens, truncated as by the reader's default.

    Attributes:
        tokenizer: Tokenizer that spells the tokens.
        spec: Description of the tokenizer, with its special tokens.
    """

    tokenizer: Tokenizer
    spec: TokenizerSpec

    @property
    def room(self) -> int:
        """Maximum number of tokens per caption, without start and end."""
        start, end = self._special
        return defaults.MAX_TOKENS - len(start) - len(end)

    def row(self, ids: Sequence[int]) -> Row:
        """Returns the row of a caption; truncated tokens follow the end token."""
        start, end = self._special
        kept, cut = ids[: self.room], ids[self.room :]
        kinds = [
            *((id_, "special") for id_ in start),
            *(
                (id_, "unknown" if id_ == self.spec.unknown_id else "plain")
                for id_ in kept
            ),
            *((id_, "special") for id_ in end),
            *((id_, "cut") for id_ in cut),
        ]
        tokens: list[Token] = []
        characters = 0
        for id_, kind in kinds[:_MOST_TOKENS]:
            text = shown(self.tokenizer.token(id_), _LONGEST_TOKEN)
            characters += len(text)
            if characters > _MOST_CHARACTERS:
                break
            tokens.append(Token(text, id_, kind))
        return Row(tuple(tokens), len(kinds) - len(tokens), len(ids), len(cut))

    @property
    def _special(self) -> tuple[list[int], list[int]]:
        return special_tokens(self.spec, ReadConfig(batch_size=1))
