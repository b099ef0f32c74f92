"""Distinct values and their counts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.shuffle.arrays import Float64s, Int64s


class Distribution(NamedTuple):
    """Distinct values and their counts.

    Memory grows with the number of distinct values, so round continuous values first.

    Attributes:
        values: Distinct values in ascending order, `float64[n]`.
        counts: Number of occurrences of each value, `int64[n]`.
    """

    values: Float64s = np.zeros(0)
    counts: Int64s = np.zeros(0, np.int64)

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    @property
    def smallest(self) -> float:
        """Smallest value; the distribution must not be empty."""
        return float(self.values[0])

    @property
    def largest(self) -> float:
        """Largest value; the distribution must not be empty."""
        return float(self.values[-1])

    def add(self, values: NDArray[np.generic]) -> "Distribution":
        """Returns the distribution with more values added."""
        unique, counts = np.unique(values.astype(np.float64), return_counts=True)
        merged, place = np.unique(
            np.concatenate([self.values, unique]), return_inverse=True
        )
        sums = np.zeros(len(merged), np.int64)
        np.add.at(sums, place, np.concatenate([self.counts, counts]))
        return Distribution(merged, sums)

    def quantile(self, share: float) -> float:
        """Returns the smallest value v such that `share` of all values are ≤ v."""
        wanted = max(1, int(np.ceil(share * self.total)))
        return float(self.values[np.searchsorted(np.cumsum(self.counts), wanted)])

    def above(self, value: float) -> int:
        """Returns the number of values larger than `value`."""
        return int(self.counts[self.values > value].sum())
