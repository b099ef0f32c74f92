"""Statistics of columns carried through, from the tables of `samples/`. START HERE.

Tables are added one at a time, so memory does not grow with the dataset: above a
million rows, quantiles are of every n-th row, and of texts only the frequent ones stay.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.contract.schema import EXTRA, Feature
from reader.distributions.distribution import Distribution
from reader.shuffle.arrays import Int64s

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
# A quantile of a million random rows is off by 0.05 % of the rows (standard error).
MOST_VALUES = 1_000_000
# Different texts to count. Above it, the less frequent half is forgotten.
MOST_TEXTS = 100_000
NUM_FREQUENT = 20
# Number of rows to convert to Python objects at once, which bounds the memory.
_ROWS = 10_000
# Longer texts are counted by their beginning and a digest.
_LONGEST_TEXT = 200


@dataclass(frozen=True, kw_only=True)
class ColumnStatistics:
    """Statistics of one column.

    Attributes:
        key: Name of the column, such as `extra/score`.
        rows: Number of rows counted.
        missing: Number of rows without a value: nulls, NaN, empty texts, and lists of
            nothing else. A build stores a missing number as NaN and a missing text as
            an empty one.
    """

    key: str
    rows: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class NumberStatistics(ColumnStatistics):
    """Statistics of a column of numbers.

    Attributes:
        nan: Number of NaN.
        infinite: Number of infinite values, which nothing below includes.
        min: Smallest value; None if there is no finite value, like the ones below.
        mean: Mean value.
        max: Largest value.
        quantiles: Values by their share: the smallest one such that this share of
            values is not larger.
        every: The distribution and the quantiles are of every n-th row; 1 for all.
        distribution: Finite values and their counts.
    """

    nan: int
    infinite: int
    min: float | None
    mean: float | None
    max: float | None
    quantiles: Mapping[float, float]
    every: int
    distribution: Distribution


@dataclass(frozen=True, kw_only=True)
class TextStatistics(ColumnStatistics):
    """Statistics of a column of texts.

    Attributes:
        empty: Number of empty texts, which nothing below includes.
        distinct: Number of different texts, or a lower bound.
        is_exact: Whether `distinct` and the counts are exact, and not lower bounds.
        frequent: The most frequent texts and their counts, the most frequent first.
    """

    empty: int
    distinct: int
    is_exact: bool
    frequent: tuple[tuple[str, int], ...]

    @property
    def repeats(self) -> bool:
        """Whether `frequent` says something: a text occurs twice, or all are in it."""
        return bool(self.frequent) and (
            self.frequent[0][1] > 1 or self.distinct == len(self.frequent)
        )


@dataclass(frozen=True, kw_only=True)
class ListStatistics(ColumnStatistics):
    """Statistics of a column of lists.

    Attributes:
        nan: Number of lists with a NaN.
        lengths: Lengths of lists, by the number of lists.
    """

    nan: int
    lengths: Distribution


class ColumnCounter:
    """Counts the columns of all tables that are added."""

    def __init__(self, features: Iterable[Feature], num_rows: int) -> None:
        """Creates a counter without counts.

        Args:
            features: Features of the dataset, whose columns `extra/…` are counted.
            num_rows: Number of rows that will be added.
        """
        every = max(1, -(-num_rows // MOST_VALUES))
        self._counters: dict[str, _Numbers | _Texts | _Lists] = {
            feature.key: _counter(feature, every)
            for feature in features
            if feature.key.startswith(EXTRA)
        }

    @property
    def keys(self) -> list[str]:
        """Columns to read of each table."""
        return list(self._counters)

    def add(self, table: Any) -> None:
        """Counts the rows of a `pyarrow.Table` with the columns `keys`."""
        for first in range(0, len(table), _ROWS):
            rows = table.slice(first, _ROWS)
            for key, counter in self._counters.items():
                counter.add(rows.column(key))

    def statistics(self) -> list[ColumnStatistics]:
        """Returns the statistics of each column, in order."""
        return [counter.statistics(key) for key, counter in self._counters.items()]


def _counter(feature: Feature, every: int) -> "_Numbers | _Texts | _Lists":
    if feature.shape:
        return _Lists(feature.dtype)
    return _Texts() if feature.dtype == "bytes" else _Numbers(every)


class _Numbers:
    def __init__(self, every: int) -> None:
        self._every, self._seen = every, 0
        self._nulls, self._nan, self._infinite, self._sum = 0, 0, 0, 0.0
        self._ends: list[Any] = []
        self._values: list[NDArray[Any]] = []

    def add(self, column: Any) -> None:
        self._nulls += column.null_count
        values = column.drop_null().to_numpy()
        self._nan += int(np.isnan(values).sum())
        finite = values[np.isfinite(values)]
        self._infinite += int(np.isinf(values).sum())
        self._sum += float(finite.sum(dtype=np.float64))
        if len(finite):
            ends = (*self._ends, finite.min(), finite.max())
            self._ends = [min(ends), max(ends)]
        self._values.append(_every_nth(column, self._seen, self._every))
        self._seen += len(column)

    def statistics(self, key: str) -> NumberStatistics:
        values = np.sort(np.concatenate(self._values or [np.zeros(0)]))
        num = self._seen - self._nulls - self._nan - self._infinite
        return NumberStatistics(
            key=key,
            rows=self._seen,
            missing=self._nulls + self._nan,
            nan=self._nan,
            infinite=self._infinite,
            min=_number(self._ends[0]) if self._ends else None,
            mean=self._sum / num if num else None,
            max=_number(self._ends[-1]) if self._ends else None,
            quantiles={
                share: _number(values[max(1, int(np.ceil(share * len(values)))) - 1])
                for share in QUANTILES
                if len(values)
            },
            every=self._every,
            distribution=Distribution().add(values),
        )


def _every_nth(column: Any, seen: int, every: int) -> NDArray[Any]:
    """Returns the finite values in every n-th row, counted from the first table on."""
    rows = np.arange(-seen % every, len(column), every)
    values: NDArray[Any] = column.take(rows).drop_null().to_numpy()
    finite: NDArray[Any] = values[np.isfinite(values)]
    return finite


def _number(value: Any) -> float:
    """Returns a Python number that is written as short as the stored one."""
    return int(value) if isinstance(value, np.integer) else float(str(value))


class _Texts:
    def __init__(self) -> None:
        self._rows, self._nulls, self._empty, self._is_exact = 0, 0, 0, True
        self._counts: Counter[str] = Counter()
        self._most = 0

    def add(self, column: Any) -> None:
        from pyarrow import compute

        self._rows += len(column)
        self._nulls += column.null_count
        for chunk in column.drop_null().chunks:
            found = compute.value_counts(chunk)
            texts, counts = found.field("values"), found.field("counts")
            for text, count in zip(texts.to_pylist(), counts.to_pylist(), strict=True):
                self._counts[_short(text)] += count
        self._empty += self._counts.pop("", 0)
        self._most = max(self._most, len(self._counts))
        if len(self._counts) > MOST_TEXTS:
            self._counts = Counter(dict(_frequent(self._counts, MOST_TEXTS // 2)))
            self._is_exact = False

    def statistics(self, key: str) -> TextStatistics:
        return TextStatistics(
            key=key,
            rows=self._rows,
            missing=self._nulls + self._empty,
            empty=self._empty,
            distinct=self._most if self._is_exact else MOST_TEXTS,
            is_exact=self._is_exact,
            frequent=tuple(_frequent(self._counts, NUM_FREQUENT)),
        )


def _frequent(counts: Counter[str], num: int) -> list[tuple[str, int]]:
    """Returns the most frequent texts; ties by the text."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:num]


def _short(text: str) -> str:
    """Returns a text, cut to a bounded length so that different ones stay different."""
    if len(text) <= _LONGEST_TEXT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[:_LONGEST_TEXT]}…{digest}"


class _Lists:
    def __init__(self, dtype: str) -> None:
        self._dtype, self._rows, self._missing, self._nan = dtype, 0, 0, 0
        self._lengths = Distribution()

    def add(self, column: Any) -> None:
        from pyarrow import compute

        self._rows += len(column)
        lists = column.drop_null()
        lengths = np.asarray(compute.list_value_length(lists).to_numpy(), np.int64)
        self._lengths = self._lengths.add(lengths)
        without = self._without_value(lists)
        if self._dtype in ("float32", "float16"):
            self._nan += int((without > 0).sum())
        self._missing += column.null_count
        self._missing += int(((without == lengths) & (lengths > 0)).sum())

    def _without_value(self, lists: Any) -> Int64s:
        """Returns the number of nulls, NaN or empty texts in each list, `int64[n]`."""
        from pyarrow import compute

        values = compute.list_flatten(lists)
        nothing = compute.is_null(values, nan_is_null=True)
        if self._dtype == "bytes":
            nothing = compute.or_(nothing, compute.equal(values, "").fill_null(True))
        parents = compute.list_parent_indices(lists).filter(nothing)
        return np.bincount(parents.to_numpy(), minlength=len(lists))

    def statistics(self, key: str) -> ListStatistics:
        return ListStatistics(
            key=key,
            rows=self._rows,
            missing=self._missing,
            nan=self._nan,
            lengths=self._lengths,
        )
