"""Text for terminals: colors, bars and escaped control characters.

The module replaces a dependency on rich, which takes longer to import than
`diptych --help` takes to run, and which adds four more packages on every host.
"""

import os
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

# Parameters of Select Graphic Rendition, ECMA-48.
_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_MAX_WIDTH = 100


@dataclass(frozen=True)
class Terminal:
    """Capabilities of a text stream.

    Attributes:
        color: Whether the text may have colors.
        width: Number of columns, at most 100.
        blocks: Whether the encoding has block elements, which bars are drawn with.
    """

    color: bool = False
    width: int = 80
    blocks: bool = True

    def paint(self, text: str, *styles: str) -> str:
        """Returns text in the given styles: bold, dim, red, green, yellow, cyan."""
        if not self.color or not text:
            return text
        codes = ";".join(str(_STYLES[style]) for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def bar(self, share: float, width: int, *styles: str) -> str:
        """Returns a bar that fills a share of `width` columns, padded with spaces.

        Any share above 0 is visible.
        """
        eighths = round(max(0.0, min(1.0, share)) * width * 8)
        if share > 0:
            eighths = max(1, eighths)
        if not self.blocks:
            full = -(-eighths // 8)
            return self.paint("#" * full, *styles) + " " * (width - full)
        full, part = divmod(eighths, 8)
        drawn = "█" * full + ("", *"▏▎▍▌▋▊▉")[part]
        return self.paint(drawn, *styles) + " " * (width - len(drawn))


def terminal_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Terminal:
    """Returns the capabilities of a stream, following https://no-color.org.

    `NO_COLOR` takes precedence over `FORCE_COLOR`, as in Python.
    """
    blocks = True
    try:
        "█▏…×".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        blocks = False
    width = min(_MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns)
    return Terminal(_wants_color(stream, environ), width, blocks)


def _wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def printable(text: str) -> str:
    r"""Returns text with characters that are not printable escaped.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, width: int) -> str:
    """Returns text truncated to `width` columns, with `…` for the rest."""
    columns = 0
    for place, char in enumerate(text):
        columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if columns > width:
            return text[: max(0, place - 1)] + "…"
    return text
