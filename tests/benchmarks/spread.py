"""What rounds of a measurement gave: their median and range, and a 95 % interval."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns the median, the least and the most: `"1.31 (1.28 to 1.35)"`."""
    if not values:
        return ""
    of = (statistics.median(values), min(values), max(values))
    return _text(of, digits)


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Returns the geometric mean of at least two paired ratios, and its 95 % interval.

    The interval is that of Student's t over the logarithms.
    """
    logs = [math.log(ratio) for ratio in ratios]
    ends = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    middle, low, high = map(math.exp, (statistics.fmean(logs), *ends))
    return middle, low, high


def confidence(ratios: Sequence[float], digits: int = 2) -> str:
    """Returns the text of `interval`, or of `spread` for a single ratio."""
    if len(ratios) < 2:
        return spread(ratios, digits)
    return _text(interval(ratios), digits)


def _text(of: Sequence[float], digits: int) -> str:
    middle, low, high = (f"{value:,.{digits}f}" for value in of)
    return f"{middle} ({low} to {high})"
