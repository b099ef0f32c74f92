"""Random numbers about records: a pure function of use, seed, epoch and record.

They are the same whatever was read before, on whatever number of hosts, and in whatever
order, so that crops, flips and captions go on as they were.
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
    """Returns uint64 of the shape of `numbers`: what SplitMix64 gives, by its place.

    Guy Steele, Doug Lea, Christine Flood: Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014, figure 17; started at `key`, its n-th output needs none of
    those before it.
    """
    bits = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits += np.uint64(key)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def permutation(key: int, num: int) -> Int64s:
    """Returns int64[num]: 0 … num - 1 in an order that `key` alone decides."""
    return np.argsort(random_bits(key, np.arange(num)), kind="stable")


class Draws:
    """Draws for several uses, side by side.

    Attributes:
        columns: `{use: slice}`: where each use's numbers are.
    """

    def __init__(self, seed: int, counts: Mapping[str, int]) -> None:
        """Takes the seed, and how many numbers each use needs of a record."""
        self._seed = seed
        self._counts = {use: count for use, count in counts.items() if count}
        self.columns: dict[str, slice] = {}
        self.num_columns = 0
        for use, count in self._counts.items():
            self.columns[use] = slice(self.num_columns, self.num_columns + count)
            self.num_columns += count

    def of(self, numbers: Int64s, epochs: Int64s) -> Float64s:
        """Returns float64[n, num_columns] in [0, 1).

        Args:
            numbers: int64[n]: of records.
            epochs: int64[n]: the epoch that each is read in.
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
            # The upper 53 bits: as many as a float64 has.
            parts.append((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)
        return np.concatenate(parts, axis=1)
