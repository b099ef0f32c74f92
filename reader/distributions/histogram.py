"""Converts a distribution to the bars of a histogram and the marks of its axis.

Positions and lengths are percentages of the width and height, so the histogram fits any
screen. No value is left out: the first and last bars include all outliers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reader.distributions.distribution import Distribution
from reader.shuffle.arrays import Float64s

_MOST_BARS = 32
# With fewer bars, a single one could fill the histogram.
_LEAST_BARS = 5
_MOST_MARKS = 5
# Share of values at either end that may be outliers, which do not stretch the axis.
_TAIL = 0.01
# Minimum height of a bar with a count, in percent, so that it is visible.
_LOWEST_BAR = 1.0

Format = Callable[[float], str]


class Bar(NamedTuple):
    """One bar of a histogram.

    Attributes:
        label: Range of values of the bar.
        value: Number of values in the range.
        x: Left edge in percent of the width.
        width: Width in percent.
        height: Height in percent.
        beyond: Whether the bar includes the outliers on its side.
    """

    label: str
    value: int
    x: float
    width: float
    height: float
    beyond: bool = False


class Mark(NamedTuple):
    """A label on the axis.

    Attributes:
        label: Text of the label.
        x: Position in percent of the width.
    """

    label: str
    x: float


class Histogram(NamedTuple):
    """Bars from left to right, and marks on the axis.

    Attributes:
        bars: Bars from left to right.
        marks: Labels on the axis.
        low: Value at the start of a linear axis; NaN for other axes.
        high: Value at the end of a linear axis; NaN for other axes.
    """

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...] = ()
    low: float = math.nan
    high: float = math.nan


def even_histogram(distribution: Distribution, text: Format) -> Histogram:
    """Returns a histogram of integers with bars of equal width.

    Args:
        distribution: Integer values.
        text: Function that formats a value.
    """
    low, high = _range(distribution)
    step = max(1.0, round_step(max(1.0, high - low) / _MOST_BARS))
    edges = step * _edges(math.floor(low / step), math.floor(high / step))
    edges -= min(0, edges[0])  # Sizes are not negative.

    def label(begin: float, end: float) -> str:
        return text(begin) if step == 1 else f"{text(begin)}–{text(end - 1)}"

    # If each bar is one number, its mark is centered below it.
    shift = 0.5 if step == 1 else 0
    marks = [
        Mark(text(mark), _percent(mark + shift, edges[0], edges[-1]))
        for mark in marks_between(edges[0], edges[-1] - step, _MOST_MARKS)
        if mark % 1 == 0
    ]
    bars = _bars(distribution, edges, label, text)
    return Histogram(bars, tuple(marks), float(edges[0]), float(edges[-1]))


def value_histogram(distribution: Distribution, most: int = _MOST_BARS) -> Histogram:
    """Returns a histogram of any finite numbers with bars of equal, round width.

    Args:
        distribution: Numbers of either sign, whole or not.
        most: Number of bars to aim at.
    """
    low, high = _range(distribution)
    whole = bool(np.all(distribution.values % 1 == 0))
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # As good as one value.
        low, high = low - abs(low) / most, high + abs(high) / most
    step = round_step((high - low) / most or 1 / most)
    step = max(1.0, step) if whole else step
    edges = step * _edges(math.floor(low / step), math.floor(high / step))
    text = decimals_text(step)

    def label(begin: float, end: float) -> str:
        if whole:
            end -= 1
        return text(begin) if begin == end else f"{text(begin)} – {text(end)}"

    shift = 0.5 if whole and step == 1 else 0
    marks = [
        Mark(text(mark), _percent(mark + shift, edges[0], edges[-1]))
        for mark in marks_between(edges[0], edges[-1] - 2 * shift, _MOST_MARKS)
        if mark % 1 == 0 or not whole
    ]
    bars = _bars(distribution, edges, label, number_text)
    return Histogram(bars, tuple(marks), float(edges[0]), float(edges[-1]))


def decimals_text(step: float) -> Format:
    """Returns a function that formats multiples of a step with the decimals it needs.

    >>> decimals_text(0.05)(0.30000000000000004), decimals_text(2.0)(12345678.0)
    ('0.30', '12,345,678')
    """
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return lambda value: (
        f"{value + 0.0:,.{decimals}f}"
        if decimals <= 6 and abs(value) < 1e15
        else number_text(value)
    )


def number_text(value: float) -> str:
    """Formats one number in full if it is whole, else with up to seven digits.

    >>> number_text(1200.0), number_text(0.9999), number_text(-2.5e-9)
    ('1,200', '0.9999', '-2.5e-09')
    """
    return f"{value:,.0f}" if value % 1 == 0 and abs(value) < 1e15 else f"{value:.7g}"


def octave_histogram(
    distribution: Distribution, text: Format, *, centered: bool = False
) -> Histogram:
    """Returns a histogram on a logarithmic axis, with marks at powers of two.

    Args:
        distribution: Positive values.
        text: Function that formats a value.
        centered: Whether powers of two are at the centers of bars instead of their
            edges.
    """
    low, high = map(math.log2, _range(distribution))
    parts = next((p for p in (16, 8, 4, 2) if (high - low) * p < _MOST_BARS), 1)
    shift = 0.5 if centered else 0
    first, last = (math.floor(end * parts + shift) for end in (low, high))
    places = (_edges(first, last) - shift) / parts

    def label(begin: float, end: float) -> str:
        return f"{text(begin)} – {text(end)}"

    bars = _bars(distribution, np.exp2(places), label, text)
    octaves = range(math.ceil(places[0]), math.floor(places[-1]) + 1)
    marks = [math.exp2(octave) for octave in octaves[:: -(-len(octaves) // 6) or 1]]
    if len(marks) < 2:
        marks = [math.exp2(places[0]), math.exp2(places[-1])]
    shown = (
        Mark(text(mark), _percent(math.log2(mark), places[0], places[-1]))
        for mark in marks
    )
    return Histogram(bars, tuple(shown))


def columns(values: Sequence[int], labels: Sequence[str]) -> Histogram:
    """Returns one bar per value, in order, with proportional heights."""
    width = 100 / max(1, len(values))
    most = max(values, default=0) or 1
    bars = (
        Bar(label, value, k * width, width, _height(value, most))
        for k, (value, label) in enumerate(zip(values, labels, strict=True))
    )
    return Histogram(tuple(bars))


def _edges(first: int, last: int) -> Float64s:
    """Returns the edges of bars `first` to `last`, `float64[n + 1]`."""
    missing = max(0, _LEAST_BARS - (last - first + 1))
    first, last = first - missing // 2, last + missing - missing // 2
    return np.arange(first, last + 2, dtype=np.float64)


def _range(distribution: Distribution) -> tuple[float, float]:
    """Returns the range of the axis, without distant outliers."""
    low, high = distribution.quantile(_TAIL), distribution.quantile(1 - _TAIL)
    near = (high - low) / 2
    if distribution.smallest >= low - near:
        low = distribution.smallest
    if distribution.largest <= high + near:
        high = distribution.largest
    return low, high


def _bars(
    distribution: Distribution,
    edges: Float64s,
    label: Callable[[float, float], str],
    text: Format,
) -> tuple[Bar, ...]:
    num = len(edges) - 1
    place = np.searchsorted(edges, distribution.values, side="right") - 1
    counts = np.zeros(num, np.int64)
    np.add.at(counts, np.clip(place, 0, num - 1), distribution.counts)
    labels = [label(edges[k], edges[k + 1]) for k in range(num)]
    beyond = [False] * num
    if distribution.smallest < edges[0]:
        labels[0] = f"{text(distribution.smallest)} – {text(edges[1])}"
        beyond[0] = True
    if distribution.largest >= edges[-1]:
        labels[-1] = f"{text(edges[-2])} – {text(distribution.largest)}"
        beyond[-1] = True
    most, width = int(counts.max()), 100 / num
    heights = [_height(count, most) for count in counts.tolist()]
    return tuple(
        Bar(labels[k], int(counts[k]), k * width, width, heights[k], beyond[k])
        for k in range(num)
    )


def place_of(value: float, histogram: Histogram) -> float:
    """Returns the position of a value on a linear axis, in percent."""
    return _percent(value, histogram.low, histogram.high)


def _height(count: int, most: int) -> float:
    return max(_LOWEST_BAR, 100 * count / most) if count else 0.0


def _percent(value: float, low: float, high: float) -> float:
    return 100 * (value - low) / (high - low)


def round_step(at_least: float) -> float:
    """Rounds up to a number of the series …, 0.1, 0.2, 0.5, 1, 2, 5, 10, ….

    >>> round_step(0.3), round_step(7), round_step(20)
    (0.5, 10.0, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(at_least))
    # Tolerates rounding errors: 1.0000000000000002 must give 1, not 2.
    steps = (step * power for step in (1, 2, 5, 10))
    return next(step for step in steps if step >= at_least * (1 - 1e-9))


def marks_between(low: float, high: float, at_most: int) -> Iterator[float]:
    """Yields evenly spaced round numbers from `low` to `high`."""
    step = round_step((high - low) / at_most)
    number = math.ceil(low / step - 1e-9)
    while number * step <= high + step * 1e-9:
        yield number * step
        number += 1
