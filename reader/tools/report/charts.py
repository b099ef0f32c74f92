"""Selects the charts of a dataset's statistics."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from reader.contract.manifest import Manifest
from reader.distributions.distribution import Distribution
from reader.distributions.histogram import (
    Format,
    Histogram,
    Mark,
    columns,
    even_histogram,
    octave_histogram,
    place_of,
)
from reader.tools.report.display_text import bytes_text, number_text
from reader.tools.report.distributions import Statistics

# Above this number of shards, the chart shows the distribution of their sizes.
_MOST_COLUMNS = 128


class Chart(NamedTuple):
    """A histogram with its title, summary and table headings.

    Attributes:
        name: Id of the chart, for links within the page.
        title: Title of the chart.
        note: Explanation beside the title; may be empty.
        facts: Summary of the distribution, as pairs `(label, value)`.
        heading: Table heading of the column of bar labels.
        counted: Table heading of the column of bar values.
        histogram: Bars and marks.
        value_text: Function that formats the value of a bar.
        cut: Mark where the reader truncates captions; None if it truncates none.
    """

    name: str
    title: str
    note: str
    facts: tuple[tuple[str, str], ...]
    heading: str
    counted: str
    histogram: Histogram
    value_text: Format = number_text
    cut: Mark | None = None


def charts_of(statistics: Statistics, room: int) -> dict[str, Chart]:
    """Returns charts by name; empty distributions are left out.

    Args:
        statistics: Statistics of the records.
        room: Number of tokens per caption that the reader keeps.
    """
    even, octaves = even_histogram, octave_histogram
    charts = [
        _chart(statistics.width, even, number_text, "width", "Width", "Pixels"),
        _chart(statistics.height, even, number_text, "height", "Height", "Pixels"),
        _chart(
            statistics.aspect,
            _centered,
            _ratio_text,
            "aspect",
            "Aspect ratio",
            "Width : height",
        ),
        _chart(
            statistics.record_bytes,
            octaves,
            bytes_text,
            "bytes",
            "Record size",
            "Bytes of image, captions and tokens",
        ),
        _lengths_chart(statistics, room),
    ]
    return {chart.name: chart for chart in charts if chart is not None}


def shards_chart(manifest: Manifest) -> Chart:
    """Returns the chart of shard sizes: one bar per shard, or a histogram if many."""
    value_text: Format
    sizes = [shard.num_bytes for shard in manifest.shards]
    if len(sizes) <= _MOST_COLUMNS:
        labels = [shard.file.removesuffix(".tfrecord") for shard in manifest.shards]
        histogram, value_text = columns(sizes, labels), bytes_text
        note, heading, counted = "one bar per shard, in order", "Shard", "Size"
    else:
        distribution = Distribution().add(np.array(sizes))
        histogram, value_text = octave_histogram(distribution, bytes_text), number_text
        note, heading, counted = "by size", "Size", "Shards"
    facts = (
        ("smallest", bytes_text(min(sizes, default=0))),
        ("mean", bytes_text(sum(sizes) / max(1, len(sizes)))),
        ("largest", bytes_text(max(sizes, default=0))),
    )
    return Chart(
        "shards", "Shards", note, facts, heading, counted, histogram, value_text
    )


def _lengths_chart(statistics: Statistics, room: int) -> Chart | None:
    """Returns the chart of caption lengths, with a mark where the reader truncates."""
    chart = _chart(
        statistics.tokens,
        even_histogram,
        number_text,
        "tokens",
        "Caption length",
        "Tokens",
    )
    if chart is None or not statistics.tokens.above(room):
        return chart
    place = place_of(room + 1, chart.histogram)
    return chart._replace(cut=Mark("truncated", place) if place < 100 else None)


def _chart(
    distribution: Distribution,
    draw: Callable[[Distribution, Format], Histogram],
    text: Format,
    name: str,
    title: str,
    heading: str,
) -> Chart | None:
    if not distribution.total:
        return None
    facts = (
        ("smallest", text(distribution.smallest)),
        ("median", text(distribution.quantile(0.5))),
        ("99th percentile", text(distribution.quantile(0.99))),
        ("largest", text(distribution.largest)),
    )
    counted = "Captions" if name == "tokens" else "Examples"
    histogram = draw(distribution, text)
    return Chart(name, title, heading.lower(), facts, heading, counted, histogram)


def _centered(distribution: Distribution, text: Format) -> Histogram:
    # Centers a bar on the ratio 1:1.
    return octave_histogram(distribution, text, centered=True)


def _ratio_text(ratio: float) -> str:
    """Formats an aspect ratio: `3:2` if it is simple, else `1.37:1` or `1:2.05`.

    >>> _ratio_text(0.667), _ratio_text(1.33), _ratio_text(1.37), _ratio_text(0.00025)
    ('2:3', '4:3', '1.37:1', '1:4\u202f000')
    """
    if ratio < 1:
        longer, _, shorter = _ratio_text(1 / ratio).partition(":")
        return f"{shorter}:{longer}"
    # Aspect ratios are rounded to three digits: 4:3 is 1.33.
    digits = f"{ratio:.3g}"
    for simple in (Fraction(ratio).limit_denominator(5), Fraction(16, 9)):
        if simple < 100 and f"{float(simple):.3g}" == digits:
            return f"{simple.numerator}:{simple.denominator}"
    return f"{digits if ratio < 100 else number_text(round(ratio))}:1"
