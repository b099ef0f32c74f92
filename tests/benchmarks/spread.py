"""The middle of what some rounds gave, and how far they lie apart."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns the median, the least and the most: `"1.31 (1.28 to 1.35)"`."""
    if not values:
        return ""
    of = (statistics.median(values), min(values), max(values))
    middle, least, most = (f"{value:,.{digits}f}" for value in of)
    return f"{middle} ({least} to {most})"
