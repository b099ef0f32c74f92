"""Text for terminals: colours where they are wanted, bars, nothing that moves a cursor.

Some sixty lines rather than a dependency on rich, which takes longer to import than
`diptych --help` to run, and brings four packages of its own to every host.
"""

import os
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

# Select Graphic Rendition, of ECMA-48.
_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_MAX_WIDTH = 100


@dataclass(frozen=True)
class Terminal:
    """What a stream of text can show.

    Attributes:
        color: Whether to colour.
        width: Columns there are, 100 at the most.
        blocks: Whether it has block elements, to draw bars of.
    """

    color: bool = False
    width: int = 80
    blocks: bool = True

    def paint(self, text: str, *styles: str) -> str:
        """Returns text in some of bold, dim, red, green, yellow and cyan."""
        if not self.color or not text:
            return text
        codes = ";".join(str(_STYLES[style]) for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def bar(self, share: float, width: int, *styles: str) -> str:
        """Returns a bar of a share of `width` columns, and spaces for what is left.

        What is more than nothing shows.
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
    """Returns what a stream can show, as https://no-color.org and others have it.

    `NO_COLOR` is obeyed before `FORCE_COLOR`, as Python itself does.
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
    r"""Returns text of which nothing moves a cursor or makes a second line.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, width: int) -> str:
    """Returns text that takes at most `width` columns, `…` for what is cut off."""
    columns = 0
    for place, char in enumerate(text):
        columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if columns > width:
            return text[: max(0, place - 1)] + "…"
    return text
