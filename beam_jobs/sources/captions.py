"""Captions: bytes of a file, or text of a table, to clean text.

Pure functions; what cannot be used raises `BadInput`. One bad caption among several is
dropped, and counted.
"""

import codecs
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from beam_jobs.elements import BadInput

# A caption is a sentence or a page, never a book: more is another kind of file.
MAX_CAPTION_BYTES = 1 << 20

# UTF-32's comes first: in little-endian it begins like UTF-16's.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_END_BYTES = re.compile(rb"\r\n|\r|\n")

# In these a line's end is not the byte that it is in ASCII.
_WIDE = re.compile(r"utf_?(16|32|7)|ebcdic|cp(037|273|424|500|875|1026|1140)")

# Control characters, zero-width spaces, soft hyphens, byte order marks and direction
# marks: invisible, and apt to make two equal captions differ. Joiners (U+200C, U+200D)
# stay: they change letters in Persian and the Indic scripts, and hold emoji together.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


# How ISO-2022, the encoding of Japanese and Korean mail, changes its character sets.
_ISO_2022 = re.compile("\x1b[$(]")
# What UTF-16 of Thai and its neighbours is when read as UTF-8: every second character
# is a control character.
_EVERY_SECOND = re.compile("(?:[^\x00-\x1f\x7f][\x01-\x08\x0e-\x1f]){4}")


class Captions(NamedTuple):
    """The captions of a key.

    Attributes:
        texts: Cleaned, in order; one at least.
        dropped: How many others were of no use.
        sha256: Hex digest of what they were made of.
    """

    texts: tuple[str, ...]
    dropped: int
    sha256: str


def read_captions(data: bytes, *, per_file: str, encoding: str = "utf-8") -> Captions:
    """Returns the captions that a file's bytes hold, cleaned.

    Args:
        data: The file's bytes: in `encoding`, or in UTF-8, UTF-16 or UTF-32 with a byte
            order mark.
        per_file: `one` if the file is one caption, `lines` if each line that is not
            blank is one.
        encoding: Of a file without a mark.

    Raises:
        BadInput: It is no text in these encodings, or there is nothing in it.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    parts = caption_parts(data, per_file=per_file, encoding=encoding)
    return _collect(parts, sha256, f"{len(data)} bytes")


def caption_parts(data: bytes, *, per_file: str, encoding: str) -> list[str | BadInput]:
    """Returns the captions of a file as they are, or why one is none.

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


def clean_captions(texts: Iterable[str]) -> Captions:
    """Returns captions that a table holds, cleaned.

    Bytes of the table that were not in its encoding come as lone surrogates.

    Raises:
        BadInput: None of them is of use.
    """
    texts = list(texts)
    sha256 = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return _collect(map(_checked, texts), sha256, f"{len(texts)} captions")


def _collect(parts: Iterable[str | BadInput], sha256: str, where: str) -> Captions:
    """Cleans each part; one that fails, or has nothing in it, is dropped."""
    captions: list[str] = []
    bad: list[BadInput] = []
    for part in parts:
        if isinstance(part, BadInput):
            bad.append(part)
        elif caption := clean_text(part):
            captions.append(caption)
        else:
            bad.append(BadInput("empty_caption", f"no text in {where}"))
    if not captions:
        raise bad[0] if bad else BadInput("empty_caption", f"no text in {where}")
    return Captions(tuple(captions), len(bad), sha256)


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
    """Decodes line by line where that is possible: a bad one leaves the others be."""
    if _WIDE.match(codecs.lookup(encoding).name.replace("-", "_")):
        text = _decode(data, encoding, offset)
        lines = [text] if isinstance(text, BadInput) else _LINE_END.split(text)
    else:
        split = _LINE_END_BYTES.split(data)
        lines = [_decode(line, encoding, offset) for line in split]
    return [line for line in lines if isinstance(line, BadInput) or line.strip()]


def clean_text(text: str) -> str:
    r"""Returns text in NFC, without invisible characters, white space folded.

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


def _credible(text: str, what: str) -> str | BadInput:
    """Finds text that decoded without an error, and is in another encoding still."""
    if "\0" in text:
        # UTF-16 or UTF-32 without a mark is often sound UTF-8 with zeros in it.
        detail = f"zero bytes in {what}: if it is UTF-16, begin it with a mark"
    elif _ISO_2022.search(text):
        detail = f"escape sequences in {what}: is it ISO-2022? say --caption_encoding"
    elif _EVERY_SECOND.search(text):
        detail = f"control characters between all others in {what}: is it UTF-16?"
    else:
        return text
    return BadInput("undecodable_caption", detail)
