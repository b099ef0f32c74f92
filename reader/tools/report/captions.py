"""A caption's token ids → tokens to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import Tokenizer
from reader.decode.outputs import special_tokens
from reader.tools.report.display_text import shown

# Of one caption, so that the page stays small.
_MOST_TOKENS = 80
_MOST_CHARACTERS = 600
_LONGEST_TOKEN = 40


class Token(NamedTuple):
    """A token: how it is spelled, its id, and what kind it is.

    Attributes:
        text: As the tokenizer's file spells it.
        id: Its number.
        kind: `special` (start and end), `unknown`, `cut` (the reader leaves it out)
            or `plain`.
    """

    text: str
    id: int
    kind: str


class Row(NamedTuple):
    """A caption as the reader gives it to a model.

    Attributes:
        tokens: The first of them, start and end among them.
        num_hidden: How many more there are.
        num_tokens: Of the caption, without start and end.
        num_cut: How many of these the reader leaves out.
    """

    tokens: tuple[Token, ...]
    num_hidden: int
    num_tokens: int
    num_cut: int


@dataclass(frozen=True)
class Spelling:
    """Makes rows of ids, cut as the reader cuts them by default.

    Attributes:
        tokenizer: Spells the tokens.
        spec: Says which of them are special.
    """

    tokenizer: Tokenizer
    spec: TokenizerSpec

    @property
    def room(self) -> int:
        """How many tokens of a caption are kept, beside start and end."""
        start, end = self._special
        return defaults.MAX_TOKENS - len(start) - len(end)

    def row(self, ids: Sequence[int]) -> Row:
        """Returns the row of a caption's ids; what is cut comes after its end."""
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
