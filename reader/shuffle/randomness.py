"""Random numbers of records: a pure function of use, seed, epoch and record number.

They do not depend on the records read before, the order, or the number of hosts, so a
resumed run has the same crops, flips and captions as an uninterrupted one.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from reader.shuffle.arrays import Float64s, Int64s, UInt64s


def random_key(use: str, seed: int | str, epoch: int) -> int:
    """Returns 64 bits that differ for each use, seed and epoch."""
    digest = hashlib.blake2b(
        f"{seed}:{epoch}".encode(), digest_size=8, person=use.encode()
    )
    return int.from_bytes(digest.digest(), "little")


def random_bits(key: int, numbers: Int64s) -> UInt64s:
    """Returns the outputs `numbers` of SplitMix64 seeded with `key`, counted from 0.

    The n-th output is computed without the outputs before it. Source: Guy Steele, Doug
    Lea, Christine Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014,
    figure 17.

    Returns:
        uint64 array of the shape of `numbers`.
    """
    bits = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits += np.uint64(key)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def permutation(key: int, num: int) -> Int64s:
    """Returns a permutation of 0 … num - 1 that depends only on `key`, int64[num]."""
    return np.argsort(random_bits(key, np.arange(num)), kind="stable")


class Draws:
    """Random numbers for several uses, such as crops and flips.

    Attributes:
        columns: Columns of each use in the drawn array, `{use: slice}`.
        num_columns: Total number of random numbers per record.
    """

    def __init__(self, seed: int, counts: Mapping[str, int]) -> None:
        """Creates the draws.

        Args:
            seed: Seed of all random numbers.
            counts: Random numbers that each use needs per record, `{use: count}`.
        """
        self._seed = seed
        self._counts = {use: count for use, count in counts.items() if count}
        self.columns: dict[str, slice] = {}
        self.num_columns = 0
        for use, count in self._counts.items():
            self.columns[use] = slice(self.num_columns, self.num_columns + count)
            self.num_columns += count

    def of(self, numbers: Int64s, epochs: Int64s) -> Float64s:
        """Returns uniform random numbers in [0, 1), float64[n, num_columns].

        Args:
            numbers: int64[n], record numbers.
            epochs: int64[n], epoch of each record.
        """
        draws = np.empty((len(numbers), self.num_columns))
        if not self.num_columns:
            return draws
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            draws[mine] = self._of_epoch(numbers[mine], epoch)
        return draws

    def _of_epoch(self, numbers: Int64s, epoch: int) -> Float64s:
        parts = []
        for use, count in self._counts.items():
            places = numbers[:, np.newaxis] * count + np.arange(count)
            bits = random_bits(random_key(use, self._seed, epoch), places)
            # The upper 53 bits, the precision of a float64.
            parts.append((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)
        return np.concatenate(parts, axis=1)
