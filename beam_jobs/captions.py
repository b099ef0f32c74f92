"""Captions: bytes of a file to clean text.

Pure functions; what cannot be used raises `BadInput`.
"""

import codecs
import re
import unicodedata

from beam_jobs.elements import BadInput

# A caption is a sentence or a page, never a book: more is another kind of file.
MAX_CAPTION_BYTES = 1 << 20

# UTF-32's comes first: in little-endian it begins like UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_LINE_END = re.compile(r"\r\n|\r|\n")

# Control characters, zero-width spaces, soft hyphens, byte order marks and direction
# marks: invisible, and apt to make two equal captions differ. Joiners (U+200C, U+200D)
# stay: they change letters in Persian and the Indic scripts, and hold emoji together.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def read_captions(data: bytes, *, per_file: str) -> list[str]:
    """Returns the captions that a file's bytes hold, cleaned.

    Args:
        data: The file's bytes: UTF-8 with or without a byte order mark, or UTF-16 or
            UTF-32 with one.
        per_file: `one` if the file is one caption, `lines` if each line that is not
            blank is one.

    Raises:
        BadInput: It is no text in these encodings, or there is nothing in it.
    """
    text = _decode(data)
    parts = _LINE_END.split(text) if per_file == "lines" else [text]
    captions = [caption for part in parts if (caption := clean_text(part))]
    if not captions:
        raise BadInput("empty_caption", f"no text in {len(data)} bytes")
    return captions


def clean_text(text: str) -> str:
    r"""Returns text in NFC, without invisible characters, white space folded.

    >>> clean_text("\ufeffA  red\tcircle \n")
    'A red circle'
    """
    return unicodedata.normalize("NFC", " ".join(_INVISIBLE.sub("", text).split()))


def _decode(data: bytes) -> str:
    if len(data) > MAX_CAPTION_BYTES:
        raise BadInput(
            "caption_file_too_large",
            f"{len(data)} bytes, more than {MAX_CAPTION_BYTES}",
        )
    mark, encoding = next(
        (known for known in _BYTE_ORDER_MARKS if data.startswith(known[0])),
        (b"", "utf-8"),
    )
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput(
            "undecodable_caption",
            f"not {encoding.upper()}: {error.reason} at byte {error.start + len(mark)}",
        ) from error
    if "\0" in text:
        # UTF-16 or UTF-32 without a mark is often sound UTF-8 with zeros in it.
        raise BadInput(
            "undecodable_caption",
            f"zero bytes in {encoding.upper()}: if it is UTF-16, begin it with a mark",
        )
    return text
