"""Counts and formats columns carried through, for `diptych show`."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from reader.console.formatting import counted
from reader.console.terminal import Terminal, printable, shortened
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import parse_shard_name
from reader.datasets.manifest_dataset import ManifestDataset
from reader.datasets.samples_table import read_table_at
from reader.distributions.column_statistics import (
    ColumnCounter,
    ColumnStatistics,
    ListStatistics,
    NumberStatistics,
    TextStatistics,
)
from reader.distributions.distribution import Distribution
from reader.distributions.histogram import number_text, value_histogram

# Tables to read, spread evenly over all shards. Keys are in hash order, so the rows of
# a shard are a random sample; `diptych report` counts all of them.
MOST_SHARDS = 32
_BARS = 10
_NUM_TEXTS = 8
_SHOWN_QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_LABEL = 26


class Columns(NamedTuple):
    """The columns of a dataset.

    Attributes:
        statistics: Statistics of each column.
        num_shards: Number of shards counted.
        problem: Why the columns could not be counted; None if they were.
    """

    statistics: list[ColumnStatistics]
    num_shards: int = 0
    problem: str | None = None


def count_columns(dataset: ManifestDataset) -> Columns:
    """Returns the statistics of the columns `extra/…`, from some tables if many."""
    shards = [shard for shard in dataset.manifest.shards if shard.num_examples]
    num = min(MOST_SHARDS, len(shards))
    shards = [shards[place * len(shards) // num] for place in range(num)]
    num_rows = sum(shard.num_examples for shard in shards)
    counter = ColumnCounter(dataset.manifest.features, num_rows)
    if not counter.keys:
        return Columns([])
    try:
        for shard in shards:
            name = parse_shard_name(shard.file)
            path = dataset.path("" if name is None else name.samples_file)
            counter.add(read_table_at(path, shard.num_examples, counter.keys))
    except (DatasetError, UsageError) as error:
        return Columns([], num, str(error))
    return Columns(counter.statistics(), num)


# As text.


def column_lines(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    """Yields lines of text about the columns; none if the dataset has no columns."""
    columns = count_columns(dataset)
    if columns.problem is not None:
        label = terminal.paint("warning:", "bold", "yellow")
        yield f"{label} columns cannot be counted: {printable(columns.problem)}"
    if not columns.statistics:
        return
    rows, all_rows = columns.statistics[0].rows, dataset.manifest.num_examples
    over = counted(rows, "example")
    if rows < all_rows:
        shards = counted(columns.num_shards, "shard")
        over = f"{over} of {all_rows:,}, in {shards}; diptych report counts all"
    yield terminal.paint(f"columns, over {over}", "bold", "cyan")
    for statistics in columns.statistics:
        name = shortened(printable(statistics.key), terminal.width // 2)
        yield f"  {terminal.paint(name, 'bold')}  {_summary(statistics)}"
        yield from _details(statistics, terminal)


def _summary(column: ColumnStatistics) -> str:
    rows = f"{column.rows:,}"
    if isinstance(column, NumberStatistics):
        parts = [f"{rows} numbers", _some(column.missing, "missing or NaN")]
        parts += [_some(column.infinite, "infinite")]
        if column.every > 1:
            parts += [f"quantiles and bars of every {column.every:,}th"]
    elif isinstance(column, TextStatistics):
        bound = "" if column.is_exact else "more than "
        parts = [f"{rows} texts, {bound}{column.distinct:,} different"]
        parts += [_some(column.missing, "missing or empty")]
        parts += [] if column.is_exact else ["counts are lower bounds"]
    else:
        parts = [f"{rows} lists", _some(column.missing, "missing")]
        parts += [_some(getattr(column, "nan", 0), "with NaN")]
        lengths = column.lengths if isinstance(column, ListStatistics) else None
        if lengths is not None and len(lengths.values) == 1:
            parts[0] += f" of {counted(int(lengths.smallest), 'value')}"
    return ", ".join(filter(None, parts))


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}" if count else ""


def _details(column: ColumnStatistics, terminal: Terminal) -> Iterator[str]:
    if isinstance(column, NumberStatistics):
        yield from _number_lines(column, terminal)
    elif isinstance(column, TextStatistics):
        frequent = column.frequent[:_NUM_TEXTS] if column.repeats else ()
        yield from _bars(frequent, column.rows - column.missing, terminal)
    elif isinstance(column, ListStatistics) and len(column.lengths.values) > 1:
        yield from _histogram_lines(column.lengths, terminal)


def _number_lines(column: NumberStatistics, terminal: Terminal) -> Iterator[str]:
    if column.min is None or column.max is None:
        return
    facts = {"smallest": column.min}
    for share in _SHOWN_QUANTILES:
        name = "median" if share == 0.5 else f"{share:.0%}"
        facts[name] = column.quantiles[share]
    facts["largest"] = column.max
    line = "   "
    for name, value in facts.items():
        fact = f" {name} {number_text(value)} "
        if len(line) + len(fact) > terminal.width:
            yield line.rstrip()
            line = "   "
        line += fact
    yield line.rstrip()
    yield from _histogram_lines(column.distribution, terminal)


def _histogram_lines(distribution: Distribution, terminal: Terminal) -> Iterator[str]:
    histogram = value_histogram(distribution, _BARS)
    bars = [(bar.label, bar.value) for bar in histogram.bars]
    while bars and not bars[-1][1]:
        bars.pop()
    first = next((place for place, (_, value) in enumerate(bars) if value), 0)
    yield from _bars(bars[first:], distribution.total, terminal)


def _bars(
    counts: Iterable[tuple[str, int]], total: int, terminal: Terminal
) -> Iterator[str]:
    counts = list(counts)
    most = max((count for _, count in counts), default=0)
    width = max(0, min(22, terminal.width - _LABEL - 28))
    for label, count in counts:
        text = shortened(printable(label), _LABEL)
        bar = terminal.bar(count / most if most else 0, width, "cyan").rstrip()
        share = count / total if total else 0
        yield f"    {text:<{_LABEL}}{count:>12,}  {bar} {share:.1%}"


# As JSON.


def column_fields(dataset: ManifestDataset) -> dict[str, Any]:
    """Returns the statistics of the columns as JSON values.

    Each column has its `kind`: `number`, `text` or `list`.
    """
    columns = count_columns(dataset)
    return {
        "columns": [_fields(statistics) for statistics in columns.statistics],
        "columns_problem": columns.problem,
    }


def _fields(column: ColumnStatistics) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "key": column.key,
        "rows": column.rows,
        "missing": column.missing,
    }
    if isinstance(column, NumberStatistics):
        return {
            **fields,
            "kind": "number",
            "nan": column.nan,
            "infinite": column.infinite,
            "min": column.min,
            "mean": column.mean,
            "max": column.max,
            "quantiles": {str(share): v for share, v in column.quantiles.items()},
            "histogram": _histogram_fields(column),
            "every": column.every,
        }
    if isinstance(column, TextStatistics):
        return {
            **fields,
            "kind": "text",
            "empty": column.empty,
            "distinct": column.distinct,
            "is_exact": column.is_exact,
            "frequent": [
                {"value": text, "count": count} for text, count in column.frequent
            ],
        }
    assert isinstance(column, ListStatistics)
    lengths = zip(column.lengths.values, column.lengths.counts, strict=True)
    return {
        **fields,
        "kind": "list",
        "nan": column.nan,
        "lengths": {str(int(length)): int(count) for length, count in lengths},
    }


def _histogram_fields(column: NumberStatistics) -> dict[str, Any] | None:
    if not column.distribution.total:
        return None
    histogram = value_histogram(column.distribution)
    edges = np.linspace(histogram.low, histogram.high, len(histogram.bars) + 1)
    # The first and the last bar include what lies beyond them.
    edges[0] = min(edges[0], column.distribution.smallest)
    edges[-1] = max(edges[-1], column.distribution.largest)
    return {
        "edges": [float(f"{edge:.12g}") for edge in edges],
        "counts": [bar.value for bar in histogram.bars],
    }
