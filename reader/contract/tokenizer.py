"""Tokenizers: text to ids and back, the same in the job and in training code.

The `basic` tokenizer lower-cases, keeps the letters, marks and digits of every script,
makes each Han or kana character a token of its own, and splits on white space:

    "A red circle."           -> a | red | circle
    "It's black-and-white!"   -> its | blackandwhite
    "Ein großes Café, 24/7"   -> ein | großes | café | 247
    "犬とcat"                  -> 犬 | と | cat
    "👍 ..."                   -> (no tokens)
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import TokenizerSpec

PAD_ID, UNKNOWN_ID, START_ID, END_ID = range(4)
# Brackets never survive `split_words`, so no word can be mistaken for one of these.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[START]", "[END]")
VOCABULARY_FILE = "vocab.txt"


class Tokenizer(Protocol):
    """What the job and the reader ask of any tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""

    def decode(self, ids: Iterable[int]) -> str:
        """Returns text again; special tokens are left out."""


# Ideographs (with their iteration mark and zero) and kana, each with what is written
# onto it: voicing marks and variation selectors.
_IDEOGRAPH = re.compile(
    "([\u3005\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U0001aff0-\U0001b16f"
    "\U00020000-\U0003ffff]"
    "[\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef]*)"
)


class _KeepWords(dict[int, str | None]):
    """A table for `str.translate`: what is no letter, mark or digit goes.

    Filled as characters are met, since most of Unicode never is.
    """

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        if unicodedata.category(char)[0] in "LMN":
            kept: str | None = char
        else:
            kept = " " if char.isspace() else None
        self[code] = kept
        return kept


_KEEP_WORDS = _KeepWords()


def split_words(text: str) -> list[str]:
    """Returns the tokens of a text under the `basic` rules (see the module)."""
    text = text.lower().translate(_KEEP_WORDS)
    if not text.isascii():
        # After dropping: what stood between a letter and its mark may be gone.
        text = _IDEOGRAPH.sub(r" \1 ", unicodedata.normalize("NFC", text))
    return text.split()


class BasicTokenizer:
    """The `basic` tokenizer over a vocabulary whose line number is the id."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Takes the vocabulary, special tokens first."""
        if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise DatasetError(
                f"{VOCABULARY_FILE} must begin with {', '.join(SPECIAL_TOKENS)}, "
                f"got {', '.join(vocabulary[:4])}"
            )
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: id_ for id_, word in enumerate(vocabulary)}

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text: `"a cat"` -> `[5, 9]`."""
        get = self._ids.get
        return [get(word, UNKNOWN_ID) for word in split_words(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of `ids`, a space between; pad, start and end left out.

        Raises:
            UsageError: An id is not of this vocabulary.
        """
        silent = (PAD_ID, START_ID, END_ID)
        return " ".join(self._word(int(id_)) for id_ in ids if id_ not in silent)

    def _word(self, id_: int) -> str:
        if not 0 <= id_ < len(self.vocabulary):
            raise UsageError(
                f"an id must be from 0 to {len(self.vocabulary) - 1}, got {id_}"
            )
        return self.vocabulary[id_]


def make_vocabulary(
    counts: dict[str, int], *, vocab_size: int, min_count: int
) -> list[str]:
    """Returns special tokens and the most frequent words; ties by code point."""
    frequent = [word for word, count in counts.items() if count >= min_count]
    frequent.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *frequent][: max(vocab_size, len(SPECIAL_TOKENS))]


def dump_vocabulary(vocabulary: Sequence[str]) -> bytes:
    """Returns `vocab.txt`: a token per line, in UTF-8; the line number is the id."""
    return "".join(f"{word}\n" for word in vocabulary).encode()


def basic_spec(vocabulary: Sequence[str]) -> TokenizerSpec:
    """Returns what the manifest says of a `basic` tokenizer."""
    return TokenizerSpec(
        kind="basic",
        file=VOCABULARY_FILE,
        sha256=hashlib.sha256(dump_vocabulary(vocabulary)).hexdigest(),
        vocab_size=len(vocabulary),
        pad_id=PAD_ID,
        unknown_id=UNKNOWN_ID,
        start_id=START_ID,
        end_id=END_ID,
    )


def load_tokenizer(spec: TokenizerSpec, data: bytes) -> Tokenizer:
    """Returns the tokenizer that `spec` describes, from the bytes of its file.

    Raises:
        DatasetError: The bytes are not those the dataset was tokenized with, or this
            version knows no tokenizer of that kind.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != spec.sha256:
        raise DatasetError(
            f"tokenizer/{spec.file} has changed since the dataset was built "
            f"(sha256 {found[:12]}…, not {spec.sha256[:12]}…): restore it"
        )
    if spec.kind != "basic":
        raise DatasetError(f"unknown kind of tokenizer {spec.kind!r}: upgrade diptych")
    return BasicTokenizer(data.decode().split("\n")[:-1])
