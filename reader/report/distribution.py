"""How often each value occurs, counted as values come."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]


class Distribution(NamedTuple):
    """Values and how often each occurs.

    As large as there are different values: round what may have any.

    Attributes:
        values: float64[n], ascending, none twice.
        counts: int64[n].
    """

    values: Float64s = np.zeros(0)
    counts: Int64s = np.zeros(0, np.int64)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def smallest(self) -> float:
        """The smallest value; there must be one."""
        return float(self.values[0])

    @property
    def largest(self) -> float:
        """The largest value; there must be one."""
        return float(self.values[-1])

    def add(self, values: NDArray[np.generic]) -> "Distribution":
        """Returns the distribution with some more values."""
        unique, counts = np.unique(values.astype(np.float64), return_counts=True)
        merged, place = np.unique(
            np.concatenate([self.values, unique]), return_inverse=True
        )
        sums = np.zeros(len(merged), np.int64)
        np.add.at(sums, place, np.concatenate([self.counts, counts]))
        return Distribution(merged, sums)

    def quantile(self, share: float) -> float:
        """Returns the smallest value that at least this share of all do not exceed."""
        wanted = max(1, int(np.ceil(share * self.total)))
        return float(self.values[np.searchsorted(np.cumsum(self.counts), wanted)])

    def above(self, value: float) -> int:
        """Returns how many values are larger than one."""
        return int(self.counts[self.values > value].sum())
