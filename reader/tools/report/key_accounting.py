"""Computes the bar of key counts: found = written + rejected + filtered + …."""

from collections.abc import Mapping
from typing import NamedTuple

from reader.contract.manifest import KeyAccounting
from reader.contract.rejects import category_of

MEANINGS = {
    "written": "Became a record.",
    "rejected": "Unusable: damaged, ambiguous or unreadable.",
    "filtered": "Valid, but excluded by a filter: image size, short caption, --where.",
    "duplicates": "The same image as another key, which was kept.",
    "unpaired": "An image without a caption, or a caption without an image.",
}
# Minimum width of a segment in percent, so that even one key in a million is visible.
_THINNEST = 0.6


class Line(NamedTuple):
    """A category of keys, such as `written` or `rejected`.

    Attributes:
        name: Name of the category.
        num_keys: Number of keys in the category.
        reasons: Number of keys by reason, the most frequent first.
        x: Left edge of the bar segment in percent.
        width: Width of the bar segment in percent.
    """

    name: str
    num_keys: int
    reasons: Mapping[str, int]
    x: float
    width: float

    @property
    def meaning(self) -> str:
        """Explanation of the category."""
        return MEANINGS[self.name]


def reason_text(reason: str) -> str:
    """Returns a reason as readable text.

    >>> reason_text("damaged_image"), reason_text("duplicate_of")
    ('damaged image', 'duplicate of another')
    """
    return reason.replace("_", " ") + " another" * (reason == "duplicate_of")


def lines_of(accounting: KeyAccounting) -> tuple[Line, ...]:
    """Returns all categories, from left to right."""
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
