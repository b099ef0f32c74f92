"""Formats numbers and untrusted text for display."""

import unicodedata

from reader.console.formatting import size_text

# Thousands separator of the SI: a narrow space that does not break (1 204 224).
SEPARATOR = "\N{NARROW NO-BREAK SPACE}"
# Characters that join letters or emoji, or select a variant of the one before.
_FOLLOWERS = frozenset("\u034f\u180b\u180c\u180d\u180f\u200c\u200d") | frozenset(
    map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
# Letters without a glyph: Unicode's fillers, and its deprecated Khmer vowels.
_BLANK = "\u115f\u1160\u17b4\u17b5\u3164\uffa0"
# Categories of characters that reorder text or are invisible.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def number_text(number: float) -> str:
    """Formats a number in groups of three digits, with at most one decimal.

    >>> number_text(1204224).replace(SEPARATOR, "_")
    '1_204_224'
    """
    shown = f"{number:,.1f}".removesuffix(".0")
    return shown.replace(",", SEPARATOR)


def percent_text(part: float, whole: float) -> str:
    """Formats a share: `97.3 %`. Only exact shares are shown as 0 % and 100 %."""
    if not whole:
        return f"0{SEPARATOR}%"
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        shown = "< 0.1"
    elif 99.95 <= percent < 100:
        shown = "> 99.9"
    else:
        shown = f"{percent:.1f}".removesuffix(".0")
    return f"{shown}{SEPARATOR}%"


def bytes_text(num_bytes: float) -> str:
    """Formats a size in bytes without line breaks: `1.5 MiB`."""
    return size_text(num_bytes).replace(".0 ", " ").replace(" ", SEPARATOR)


def shown(text: str, limit: int) -> str:
    r"""Returns untrusted text on one line, truncated to a number of characters.

    Escapes characters that reorder text or are invisible, so that different names look
    different and no name imitates another:

    >>> shown("photo\u202egpj.exe", 40)
    'photo\\u202egpj.exe'
    """
    chars = text[: limit + 1]
    text = "".join(map(_visible, chars, " " + chars))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _visible(char: str, before: str) -> str:
    if char in _FOLLOWERS and not before.isspace():
        return char
    code = ord(char)
    # Unicode noncharacters, which HTML forbids.
    forbidden = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    hidden = char in _FOLLOWERS or char in _BLANK or 0xE0000 <= code <= 0xE0FFF
    hidden = hidden or unicodedata.category(char) in _HIDDEN
    if not (hidden or forbidden):
        return char
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
