"""CLIP's byte pair encoding, with the ids of OpenAI's `simple_tokenizer`.

Read are OpenAI's `bpe_simple_vocab_16e6.txt.gz`, zipped or not, and the `merges.txt`
that Hugging Face made of it. The library `tokenizers` is not used: its expressions know
other letters than those of `regex`, which OpenAI splits with (U+0345, control
characters), and so its ids differ.
"""

import functools
import gzip
import html
import itertools
import zlib
from collections.abc import Iterable, Iterator

from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import checked_id, sha256_hex, text_ids

GZIP_MAGIC = b"\x1f\x8b"
VOCAB_SIZE = 49_408
START_ID, END_ID = 49_406, 49_407

_SPECIAL = {"<|startoftext|>": START_ID, "<|endoftext|>": END_ID}
# OpenAI's file holds more; these are used.
_NUM_MERGES = VOCAB_SIZE - 2 * 256 - len(_SPECIAL)
_WORD_END = "</w>"
# Letters, each digit alone, and runs of all else; case is ignored, as there.
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_CACHED_WORDS = 1 << 16


def clip_spec(data: bytes) -> TokenizerSpec:
    """Returns what the manifest says of CLIP's merges.

    Raises:
        UsageError: They are not CLIP's, or a library is not installed.
    """
    ClipTokenizer(_spec(data), data)
    return _spec(data)


def _spec(data: bytes) -> TokenizerSpec:
    zipped = data.startswith(GZIP_MAGIC)
    return TokenizerSpec(
        kind="clip",
        file="bpe_merges.txt.gz" if zipped else "bpe_merges.txt",
        sha256=sha256_hex(data),
        vocab_size=VOCAB_SIZE,
        pad_id=0,  # As CLIP pads, though 0 is an exclamation mark as well.
        unknown_id=None,
        start_id=START_ID,
        end_id=END_ID,
    )


def merges_text(data: bytes) -> str | None:
    """Returns the text of a merges file, unzipped; None for any other file."""
    try:
        text = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
        first, _, _ = text.partition(b"\n")
        return text.decode() if b"#version" in first else None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


class ClipTokenizer:
    """CLIP's tokenizer."""

    def __init__(self, spec: TokenizerSpec, data: bytes) -> None:
        """Takes what the manifest says of it, and the bytes of the merges."""
        self._fix_text = import_library("ftfy", "CLIP's tokenizer").fix_text
        regex = import_library("regex", "CLIP's tokenizer")
        self._words = regex.compile(_WORDS, regex.IGNORECASE)
        self._space = regex.compile(r"\s+")
        self._spec = spec
        merges = _parse_merges(data)
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._tokens = [
            *_BYTE_CHARS.values(),
            *(char + _WORD_END for char in _BYTE_CHARS.values()),
            *(left + right for left, right in merges),
            *_SPECIAL,
        ]
        self._ids = {token: id_ for id_, token in enumerate(self._tokens)}
        self._word_ids = functools.lru_cache(_CACHED_WORDS)(self._merge)

    @property
    def vocab_size(self) -> int:
        """49,408."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""
        words = self._words.findall(self._clean(text))
        return [id_ for word in words for id_ in self._word_ids(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns text again, in lower case, a space between words.

        Raises:
            UsageError: An id is not of this tokenizer.
        """
        plain = text_ids(ids, self._spec, own_pad=False)
        text = "".join(map(self._tokens.__getitem__, plain)).replace(_WORD_END, " ")
        data = bytes(_CHAR_BYTES[char] for char in text)
        return data.decode("utf-8", errors="replace").strip()

    def token(self, id_: int) -> str:
        """Returns a token as OpenAI spells it: `cat</w>`, a visible sign for a byte.

        Raises:
            UsageError: The id is not of this tokenizer.
        """
        return self._tokens[checked_id(id_, self.vocab_size)]

    def _clean(self, text: str) -> str:
        text = html.unescape(html.unescape(self._fix_text(text)))
        cleaned: str = self._space.sub(" ", text).strip().lower()
        return cleaned

    def _merge(self, word: str) -> tuple[int, ...]:
        """Returns the ids of a word: neighbours are merged, the earliest rule first."""
        if word in _SPECIAL:
            return (_SPECIAL[word],)
        parts = [_BYTE_CHARS[byte] for byte in word.encode()]
        parts[-1] += _WORD_END
        while len(parts) > 1:
            ranks = [
                self._ranks.get((left, right), _NUM_MERGES)
                for left, right in itertools.pairwise(parts)
            ]
            lowest = min(ranks)
            if lowest == _NUM_MERGES:
                break
            parts = list(_merge_pairs(parts, ranks, lowest))
        return tuple(self._ids[part] for part in parts)


def _merge_pairs(parts: list[str], ranks: list[int], rank: int) -> Iterator[str]:
    """Yields the parts, each pair of that rank as one; from left to right."""
    place = 0
    while place < len(parts):
        merged = place < len(ranks) and ranks[place] == rank
        yield parts[place] + parts[place + 1] if merged else parts[place]
        place += 2 if merged else 1


def _parse_merges(data: bytes) -> list[tuple[str, str]]:
    """Returns the merges, in order.

    Raises:
        UsageError: They are not CLIP's.
    """
    text = merges_text(data)
    if text is None:
        raise UsageError("not a file of merges: its first line has no #version")
    lines = text.split("\n")[1 : 1 + _NUM_MERGES]
    merges = [_pair(line) for line in lines if line]
    if len(merges) != _NUM_MERGES:
        raise UsageError(
            f"CLIP has {_NUM_MERGES} merges, this file has {len(merges)}: is it whole?"
        )
    if not any(right.endswith(_WORD_END) for _, right in merges):
        raise UsageError(
            f"CLIP's merges mark a word's end with {_WORD_END}, these do not: pass the "
            "tokenizer.json of the model they belong to"
        )
    return merges


def _pair(line: str) -> tuple[str, str]:
    left, space, right = line.strip("\r").partition(" ")
    if not (left and space and right) or " " in right:
        raise UsageError(f"a merge is two parts with a space between, got {line!r}")
    return left, right


def _byte_chars() -> dict[int, str]:
    """Returns a visible character for each byte, as GPT-2 has it, in order of ids."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    chars = {byte: chr(byte) for byte in visible}
    return chars | {byte: chr(256 + n) for n, byte in enumerate(others)}


_BYTE_CHARS = _byte_chars()
# A space comes of a word's end, since no token holds one.
_CHAR_BYTES = {char: byte for byte, char in _BYTE_CHARS.items()} | {" ": 0x20}
