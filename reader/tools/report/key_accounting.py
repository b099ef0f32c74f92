"""The books as a picture: found = written + rejected + filtered + …."""

from collections.abc import Mapping
from typing import NamedTuple

from reader.contract.manifest import KeyAccounting
from reader.contract.rejects import category_of

MEANINGS = {
    "written": "Became a record.",
    "rejected": "Cannot be used: damaged, ambiguous, unreadable.",
    "filtered": "Sound, but declined by the filters of size and shape.",
    "duplicates": "The same picture as another, which was kept.",
    "unpaired": "An image without a caption, or a caption without an image.",
}
# Percent of the picture's width: what there is can be seen, be it one in a million.
_THINNEST = 0.6


class Line(NamedTuple):
    """A line of the books.

    Attributes:
        name: As the manifest's reasons are summed up.
        num_keys: Of the line.
        reasons: `{reason: keys}`, the most frequent first.
        x: Where its part of the picture begins, in percent.
        width: Of that part, in percent.
    """

    name: str
    num_keys: int
    reasons: Mapping[str, int]
    x: float
    width: float

    @property
    def meaning(self) -> str:
        """What the line says of its keys."""
        return MEANINGS[self.name]


def reason_text(reason: str) -> str:
    """Returns a reason in words.

    >>> reason_text("damaged_image"), reason_text("duplicate_of")
    ('damaged image', 'duplicate of another')
    """
    return reason.replace("_", " ") + " another" * (reason == "duplicate_of")


def lines_of(accounting: KeyAccounting) -> tuple[Line, ...]:
    """Returns all lines, from left to right."""
    reasons: dict[str, dict[str, int]] = {name: {} for name in MEANINGS}
    for reason, count in sorted(accounting.not_written.items(), key=_frequent_first):
        reasons[category_of(reason)][reason] = count
    counts = {name: sum(of.values()) for name, of in reasons.items()}
    counts["written"] = accounting.written
    shares = [
        max(_THINNEST, 100 * count / accounting.found) if count else 0.0
        for count in counts.values()
    ]
    scale = 100 / (sum(shares) or 1)
    lines, x = [], 0.0
    for (name, count), share in zip(counts.items(), shares, strict=True):
        lines.append(Line(name, count, reasons[name], x, share * scale))
        x += share * scale
    return tuple(lines)


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    reason, count = item
    return -count, reason
