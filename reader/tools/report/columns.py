"""Prepares the statistics of columns carried through for the page."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reader.distributions.column_statistics import (
    ColumnStatistics,
    ListStatistics,
    NumberStatistics,
    TextStatistics,
)
from reader.distributions.distribution import Distribution
from reader.distributions.histogram import Histogram, number_text, value_histogram
from reader.tools.report.charts import Chart
from reader.tools.report.display_text import SEPARATOR, shown

_LONGEST_NAME = 60


class ColumnView(NamedTuple):
    """A column as the page shows it.

    Attributes:
        name: Id of the figure, for links within the page.
        title: Name of the column.
        note: Summary of the rows.
        chart: Histogram of numbers, or of the lengths of lists; None for others.
        frequent: The most frequent texts and their counts.
    """

    name: str
    title: str
    note: str
    chart: Chart | None = None
    frequent: tuple[tuple[str, int], ...] = ()


def views_of(columns: Iterable[ColumnStatistics]) -> list[ColumnView]:
    """Returns what the page shows of each column, in order."""
    return [_view(f"column-{k}", column) for k, column in enumerate(columns)]


def _view(name: str, column: ColumnStatistics) -> ColumnView:
    title = shown(column.key, _LONGEST_NAME)
    if isinstance(column, NumberStatistics):
        parts = {"missing or NaN": column.missing, "infinite": column.infinite}
        note = _note(column, "numbers", parts)
        if column.every > 1:
            note += f"; quantiles and bars of every {_number(column.every)}th"
        if column.min is None or column.max is None:
            return ColumnView(name, title, note)
        ends = {"smallest": column.min, "largest": column.max}
        facts = _facts(ends, column.quantiles)
        chart = _chart(name, title, note, "Value", column.distribution, facts)
        return ColumnView(name, title, note, chart)
    if isinstance(column, TextStatistics):
        bound = "" if column.is_exact else "more than "
        note = _note(column, "texts", {"missing or empty": column.missing})
        note += f", {bound}{_number(column.distinct)} different"
        note += "" if column.is_exact else "; counts are lower bounds"
        frequent = column.frequent if column.repeats else ()
        return ColumnView(name, title, note, frequent=frequent)
    assert isinstance(column, ListStatistics)
    note = _note(column, "lists", {"missing": column.missing, "with NaN": column.nan})
    lengths = column.lengths
    if len(lengths.values) == 1:
        note += f"; every list has length {_number(lengths.smallest)}"
    if len(lengths.values) < 2:
        return ColumnView(name, title, note)
    ends = {"shortest": lengths.smallest, "longest": lengths.largest}
    facts = _facts(
        ends, {share: lengths.quantile(share) for share in (0.01, 0.5, 0.99)}
    )
    chart = _chart(name, title, note, "Length", lengths, facts)
    return ColumnView(name, title, note, chart)


def _note(column: ColumnStatistics, noun: str, counts: Mapping[str, int]) -> str:
    parts = [f"{_number(count)} {what}" for what, count in counts.items() if count]
    return ", ".join([f"{_number(column.rows)} {noun}", *parts])


def _facts(
    ends: Mapping[str, float], quantiles: Mapping[float, float]
) -> tuple[tuple[str, str], ...]:
    (first, low), (last, high) = ends.items()
    named = {
        "median" if share == 0.5 else f"{100 * share:.0f}{SEPARATOR}%": value
        for share, value in quantiles.items()
    }
    facts = {first: low, **named, last: high}
    return tuple((name, _number(value)) for name, value in facts.items())


def _chart(
    name: str,
    title: str,
    note: str,
    heading: str,
    distribution: Distribution,
    facts: tuple[tuple[str, str], ...],
) -> Chart:
    histogram = _spaced(value_histogram(distribution))
    return Chart(name, title, note, facts, heading, "Examples", histogram)


def _spaced(histogram: Histogram) -> Histogram:
    """Returns a histogram with the page's thousands separator."""
    return histogram._replace(
        bars=tuple(b._replace(label=_separated(b.label)) for b in histogram.bars),
        marks=tuple(m._replace(label=_separated(m.label)) for m in histogram.marks),
    )


def _separated(text: str) -> str:
    return text.replace(",", SEPARATOR)


def _number(value: float) -> str:
    return _separated(number_text(value))
