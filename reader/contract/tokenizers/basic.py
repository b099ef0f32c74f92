"""The `basic` tokenizer: words, with a vocabulary that the job counts.

It lower-cases the text, keeps the letters, marks and digits of every script (Unicode
categories L, M and N), drops all other characters, makes each Han or kana character a
separate token, and splits on white space:

    "A red circle."           -> a | red | circle
    "It's black-and-white!"   -> its | blackandwhite
    "Ein großes Café, 24/7"   -> ein | großes | café | 247
    "犬とcat"                  -> 犬 | と | cat
    "👍 ..."                   -> (no tokens)
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import checked_id, sha256_hex, text_ids

PAD_ID, UNKNOWN_ID, START_ID, END_ID = range(4)
# `split_words` drops brackets, so no word equals a special token.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[START]", "[END]")
VOCABULARY_FILE = "vocab.txt"


# A Han character (including iteration marks and the zero) or kana, with the voicing
# marks and variation selectors that follow it.
_IDEOGRAPH = re.compile(
    "([\u3005\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U0001aff0-\U0001b16f"
    "\U00020000-\U0003ffff]"
    "[\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef]*)"
)


class _KeepWords(dict[int, str | None]):
    """A table for `str.translate` that keeps letters, marks, digits and white space.

    Entries are added when a character first occurs, since most of Unicode never does.
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
    """Splits a text into words by the `basic` rules; see the module."""
    text = text.lower().translate(_KEEP_WORDS)
    if not text.isascii():
        # NFC comes last: a dropped character may have separated a letter and its mark.
        text = _IDEOGRAPH.sub(r" \1 ", unicodedata.normalize("NFC", text))
    return text.split()


class BasicTokenizer:
    """The `basic` tokenizer.

    Attributes:
        vocabulary: Words in the order of their ids, special tokens first.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Creates the tokenizer.

        Args:
            vocabulary: Words in the order of their ids, special tokens first.

        Raises:
            DatasetError: The vocabulary does not begin with the special tokens.
        """
        if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise DatasetError(
                f"{VOCABULARY_FILE} must begin with {', '.join(SPECIAL_TOKENS)}, "
                f"got {', '.join(vocabulary[:4])}"
            )
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: id_ for id_, word in enumerate(vocabulary)}
        self._spec = basic_spec(vocabulary)

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, including the special tokens."""
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text: `"a cat"` -> `[5, 9]`."""
        get = self._ids.get
        return [get(word, UNKNOWN_ID) for word in split_words(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of `ids`, joined by spaces, without pad, start and end.

        Raises:
            UsageError: An id is not in the vocabulary.
        """
        return " ".join(self.vocabulary[id_] for id_ in text_ids(ids, self._spec))

    def token(self, id_: int) -> str:
        """Returns the word of an id: `5` -> `"cat"`, `1` -> `"[UNK]"`.

        Raises:
            UsageError: The id is not in the vocabulary.
        """
        return self.vocabulary[checked_id(id_, self.vocab_size)]


def make_vocabulary(
    counts: dict[str, int], *, vocab_size: int, min_count: int
) -> list[str]:
    """Returns the special tokens and the most frequent words; ties by code point.

    Args:
        counts: Number of occurrences of each word.
        vocab_size: Maximum size of the vocabulary, including the special tokens.
        min_count: Minimum number of occurrences of a word.
    """
    frequent = [word for word, count in counts.items() if count >= min_count]
    frequent.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *frequent][: max(vocab_size, len(SPECIAL_TOKENS))]


def dump_vocabulary(vocabulary: Sequence[str]) -> bytes:
    """Serializes a vocabulary as `vocab.txt`: UTF-8, one token per line.

    The id of a token is the number of its line, counted from 0.
    """
    return "".join(f"{word}\n" for word in vocabulary).encode()


def parse_vocabulary(data: bytes) -> list[str]:
    """Returns the tokens in `vocab.txt`, in the order of their ids."""
    return data.decode().split("\n")[:-1]


def is_vocabulary(data: bytes) -> bool:
    """Returns whether a file begins as `vocab.txt` does, with the special tokens."""
    return data.startswith(dump_vocabulary(SPECIAL_TOKENS))


def checked_vocabulary(data: bytes) -> list[str]:
    """Returns the tokens in `vocab.txt`, after checking that they have unique ids.

    Raises:
        UsageError: The bytes are not what `dump_vocabulary` returns, or repeat a word.
    """
    try:
        vocabulary = parse_vocabulary(data)
    except UnicodeDecodeError as error:
        raise UsageError(f"not a vocabulary: not UTF-8 at byte {error.start}") from None
    if dump_vocabulary(vocabulary) != data:
        raise UsageError("not a vocabulary: its last line has no line end")
    if len(set(vocabulary)) < len(vocabulary):
        word, times = Counter(vocabulary).most_common(1)[0]
        raise UsageError(f"not a vocabulary: {word!r} is on {times} lines")
    return vocabulary


def basic_spec(vocabulary: Sequence[str]) -> TokenizerSpec:
    """Returns the manifest entry of a `basic` tokenizer."""
    return TokenizerSpec(
        kind="basic",
        file=VOCABULARY_FILE,
        sha256=sha256_hex(dump_vocabulary(vocabulary)),
        vocab_size=len(vocabulary),
        pad_id=PAD_ID,
        unknown_id=UNKNOWN_ID,
        start_id=START_ID,
        end_id=END_ID,
    )
