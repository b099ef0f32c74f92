"""Decodes and cleans captions: bytes of a file or text of a table → clean text.

All functions are pure. They raise `BadInput` if a key has no usable caption. An
unusable caption among usable ones is dropped and counted, and so is a short one among
longer ones.
"""

import codecs
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from beam_jobs.elements import BadInput

# A caption has at most a few pages. A larger file is not a caption file.
MAX_CAPTION_BYTES = 1 << 20

# UTF-32 comes before UTF-16, whose little-endian mark is a prefix of UTF-32's.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_END_BYTES = re.compile(rb"\r\n|\r|\n")

# Encodings whose line ends are not the single bytes of ASCII.
_WIDE = re.compile(r"utf_?(16|32|7)|ebcdic|cp(037|273|424|500|875|1026|1140)")

# Control characters, zero-width spaces, soft hyphens, byte order marks and direction
# marks. These characters are invisible and make equal captions differ. The joiners
# U+200C and U+200D are kept, because they change letters in Persian and the Indic
# scripts and combine emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)

# Escape sequences that switch character sets in ISO-2022, an encoding of Japanese and
# Korean mail.
_ISO_2022 = re.compile("\x1b[$(]")
# Thai and similar scripts in UTF-16, decoded as UTF-8: every second character is a
# control character.
_EVERY_SECOND = re.compile("(?:[^\x00-\x1f\x7f][\x01-\x08\x0e-\x1f]){4}")


class Captions(NamedTuple):
    """The captions of a key.

    Attributes:
        texts: Cleaned captions in their original order, at least one.
        dropped: Number of captions that were dropped: unusable ones, and those of few
            tokens.
        sha256: Hex digest of the original bytes or texts, and of names if there are.
        names: Name of each caption; empty if it has none.
    """

    texts: tuple[str, ...]
    dropped: int
    sha256: str
    names: tuple[str, ...]


def read_captions(
    data: bytes, *, per_file: str, encoding: str = "utf-8", name: str = ""
) -> Captions:
    """Returns the cleaned captions of a file.

    Args:
        data: Bytes of the file, in `encoding`, or in UTF-8, UTF-16 or UTF-32 with a
            byte order mark.
        per_file: `one` if the file is one caption, or `lines` if each line that is not
            blank is one caption.
        encoding: Encoding of a file without a byte order mark.
        name: Name of its captions.

    Raises:
        BadInput: The file is too large, cannot be decoded, or contains no text.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    parts = caption_parts(data, per_file=per_file, encoding=encoding)
    names = [name] * len(parts)
    return _collect(parts, names, sha256, f"{len(data)} bytes")


def join_captions(files: Iterable[Captions | BadInput]) -> Captions:
    """Returns the captions of several files of one key.

    Raises:
        BadInput: No file is usable: the error of the first one.
    """
    files = list(files)
    usable = [one for one in files if isinstance(one, Captions)]
    bad = [one for one in files if isinstance(one, BadInput)]
    if not usable:
        raise bad[0]
    hashed = json.dumps([[*one.names[:1], one.sha256] for one in usable])
    return Captions(
        texts=tuple(text for one in usable for text in one.texts),
        dropped=sum(one.dropped for one in usable) + len(bad),
        sha256=hashlib.sha256(hashed.encode()).hexdigest(),
        names=tuple(name for one in usable for name in one.names),
    )


def caption_parts(data: bytes, *, per_file: str, encoding: str) -> list[str | BadInput]:
    """Returns the captions of a file without cleaning, or an error for a bad caption.

    Raises:
        BadInput: The file is too large.
    """
    if len(data) > MAX_CAPTION_BYTES:
        raise BadInput(
            "caption_too_large", f"{len(data)} bytes, more than {MAX_CAPTION_BYTES}"
        )
    mark, encoding = next(
        (known for known in BYTE_ORDER_MARKS if data.startswith(known[0])),
        (b"", encoding),
    )
    text = data[len(mark) :]
    if per_file == "lines":
        return _lines(text, encoding, len(mark))
    return [_decode(text, encoding, len(mark))]


def clean_captions(
    texts: Iterable[str], names: Sequence[str] | None = None
) -> Captions:
    """Returns the cleaned captions of a table.

    Args:
        texts: Captions of one key. Bytes that could not be decoded are lone surrogates.
        names: Name of each caption; None if captions have no names.

    Raises:
        BadInput: No caption is usable.
    """
    texts = list(texts)
    hashed = texts if names is None else [texts, list(names)]
    sha256 = hashlib.sha256(json.dumps(hashed).encode()).hexdigest()
    names = [""] * len(texts) if names is None else names
    where = "its caption" if len(texts) == 1 else f"{len(texts)} captions"
    return _collect(map(_checked, texts), names, sha256, where)


def without_short(
    captions: Captions, min_tokens: int, num_tokens: Callable[[str], int]
) -> Captions:
    """Drops captions of few tokens.

    Args:
        captions: Captions of a key.
        min_tokens: Smallest number of tokens to keep a caption.
        num_tokens: Function that counts the tokens of a caption.

    Raises:
        BadInput: `caption_too_short` if no caption is left.
    """
    counts = list(map(num_tokens, captions.texts))
    if max(counts) < min_tokens:
        detail = f"at most {max(counts)} tokens, fewer than {min_tokens}"
        raise BadInput("caption_too_short", detail)
    long = [count >= min_tokens for count in counts]
    dropped = captions.dropped + long.count(False)
    return captions._replace(
        texts=tuple(itertools.compress(captions.texts, long)),
        dropped=dropped,
        names=tuple(itertools.compress(captions.names, long)),
    )


def _collect(
    parts: Iterable[str | BadInput], names: Sequence[str], sha256: str, where: str
) -> Captions:
    """Cleans each part, and drops parts that are bad or empty, with their names."""
    captions: list[str] = []
    kept: list[str] = []
    bad: list[BadInput] = []
    for part, name in zip(parts, names, strict=True):
        if isinstance(part, BadInput):
            bad.append(part)
        elif caption := clean_text(part):
            captions.append(caption)
            kept.append(name)
        else:
            bad.append(BadInput("empty_caption", f"no text in {where}"))
    if not captions:
        raise bad[0] if bad else BadInput("empty_caption", f"no text in {where}")
    return Captions(tuple(captions), len(bad), sha256, tuple(kept))


def _checked(text: str) -> str | BadInput:
    if len(text) > MAX_CAPTION_BYTES:
        detail = f"{len(text)} characters, more than {MAX_CAPTION_BYTES}"
        return BadInput("caption_too_large", detail)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        detail = f"character {error.start} is no text: say --caption_encoding?"
        return BadInput("undecodable_caption", detail)
    return _credible(text, "text")


def _lines(data: bytes, encoding: str, offset: int) -> list[str | BadInput]:
    """Decodes each line separately if possible, so that good lines are kept."""
    if _WIDE.match(codecs.lookup(encoding).name.replace("-", "_")):
        text = _decode(data, encoding, offset)
        lines = [text] if isinstance(text, BadInput) else _LINE_END.split(text)
    else:
        split = _LINE_END_BYTES.split(data)
        lines = [_decode(line, encoding, offset) for line in split]
    return [line for line in lines if isinstance(line, BadInput) or line.strip()]


def clean_text(text: str) -> str:
    r"""Returns text in NFC, with single spaces and without invisible characters.

    >>> clean_text("\ufeffA  red\tcircle \n")
    'A red circle'
    """
    return unicodedata.normalize("NFC", " ".join(_INVISIBLE.sub("", text).split()))


def _decode(data: bytes, encoding: str, offset: int) -> str | BadInput:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        detail = (
            f"not {encoding.upper()}: {error.reason} at byte {error.start + offset}"
        )
        return BadInput("undecodable_caption", detail)
    return _credible(text, encoding.upper())


def _credible(text: str, source: str) -> str | BadInput:
    """Returns decoded text, or an error if the encoding was evidently wrong.

    Some wrong encodings decode without a `UnicodeDecodeError`.
    """
    if "\0" in text:
        # UTF-16 or UTF-32 without a mark is often valid UTF-8 with zero bytes.
        detail = f"zero bytes in {source}: if it is UTF-16, begin it with a mark"
    elif _ISO_2022.search(text):
        detail = f"escape sequences in {source}: is it ISO-2022? say --caption_encoding"
    elif _EVERY_SECOND.search(text):
        detail = f"control characters between all others in {source}: is it UTF-16?"
    else:
        return text
    return BadInput("undecodable_caption", detail)
