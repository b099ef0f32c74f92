"""CLIP's byte pair encoding, with the ids of OpenAI's `simple_tokenizer`.

It reads OpenAI's `bpe_simple_vocab_16e6.txt.gz`, with or without gzip compression, and
Hugging Face's `merges.txt`, which is derived from it. The library `tokenizers` is not
used: its regular expressions classify some characters (U+0345, control characters)
differently from `regex`, which OpenAI uses, and so some of its ids differ.
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
# OpenAI's file holds more merges, but its code uses only these.
_NUM_MERGES = VOCAB_SIZE - 2 * 256 - len(_SPECIAL)
_WORD_END = "</w>"
# Runs of letters, single digits, and runs of other characters. Case is ignored, as in
# OpenAI's code.
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_CACHED_WORDS = 1 << 16


def clip_spec(data: bytes) -> TokenizerSpec:
    """Returns the manifest entry of a CLIP tokenizer.

    Args:
        data: Bytes of the merges file.

    Raises:
        UsageError: The file does not hold CLIP's merges, or a library is not installed.
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
        pad_id=0,  # CLIP pads with 0, which is also the id of "!".
        unknown_id=None,
        start_id=START_ID,
        end_id=END_ID,
    )


def merges_text(data: bytes) -> str | None:
    """Returns the text of a merges file, decompressed; None for any other file."""
    try:
        text = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
        first, _, _ = text.partition(b"\n")
        return text.decode() if b"#version" in first else None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


class ClipTokenizer:
    """CLIP's tokenizer."""

    def __init__(self, spec: TokenizerSpec, data: bytes) -> None:
        """Creates the tokenizer.

        Args:
            spec: Manifest entry of the tokenizer.
            data: Bytes of the merges file.

        Raises:
            UsageError: The file does not hold CLIP's merges, or a library is not
                installed.
        """
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
        """Number of ids, 49,408."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""
        words = self._words.findall(self._clean(text))
        return [id_ for word in words for id_ in self._word_ids(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, in lower case, with a space between words.

        Text ends at the end token, since the pad id is also the id of "!".

        Raises:
            UsageError: An id is not from 0 to 49,407.
        """
        plain = text_ids(ids, self._spec, own_pad=False)
        text = "".join(map(self._tokens.__getitem__, plain)).replace(_WORD_END, " ")
        data = bytes(_CHAR_BYTES[char] for char in text)
        return data.decode("utf-8", errors="replace").strip()

    def token(self, id_: int) -> str:
        """Returns a token in OpenAI's notation, such as `cat</w>`.

        Each byte of the token is one visible character.

        Raises:
            UsageError: The id is not from 0 to 49,407.
        """
        return self._tokens[checked_id(id_, self.vocab_size)]

    def _clean(self, text: str) -> str:
        text = html.unescape(html.unescape(self._fix_text(text)))
        cleaned: str = self._space.sub(" ", text).strip().lower()
        return cleaned

    def _merge(self, word: str) -> tuple[int, ...]:
        """Returns the ids of a word; neighbors merge in the order of the merge list."""
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
    """Yields the parts from left to right, with each pair of that rank merged."""
    place = 0
    while place < len(parts):
        merged = place < len(ranks) and ranks[place] == rank
        yield parts[place] + parts[place + 1] if merged else parts[place]
        place += 2 if merged else 1


def _parse_merges(data: bytes) -> list[tuple[str, str]]:
    """Returns the merges, in order.

    Raises:
        UsageError: The file does not hold CLIP's merges.
    """
    text = merges_text(data)
    if text is None:
        raise UsageError("not a merges file: the first line has no #version")
    lines = text.split("\n")[1 : 1 + _NUM_MERGES]
    merges = [_pair(line) for line in lines if line]
    if len(merges) != _NUM_MERGES:
        raise UsageError(
            f"CLIP has {_NUM_MERGES} merges, but this file has {len(merges)}: check "
            "that the file is complete"
        )
    if not any(right.endswith(_WORD_END) for _, right in merges):
        raise UsageError(
            f"CLIP's merges mark the end of a word with {_WORD_END}, but this file's "
            "merges do not: pass the tokenizer.json of their model"
        )
    return merges


def _pair(line: str) -> tuple[str, str]:
    left, space, right = line.strip("\r").partition(" ")
    if not (left and space and right) or " " in right:
        raise UsageError(f"a merge must be two parts joined by a space, got {line!r}")
    return left, right


def _byte_chars() -> dict[int, str]:
    """Returns GPT-2's visible character for each byte, in the order of ids."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    chars = {byte: chr(byte) for byte in visible}
    return chars | {byte: chr(256 + n) for n, byte in enumerate(others)}


_BYTE_CHARS = _byte_chars()
# A space stands for the end of a word; no token contains a space.
_CHAR_BYTES = {char: byte for byte, char in _BYTE_CHARS.items()} | {" ": 0x20}
