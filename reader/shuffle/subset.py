"""A chosen part of the records, under the order of any other numbering.

The order never learns what is left out. It is an order of *planned* numbers, which
count only the chosen records: a block of the index has as many of them as it has chosen
records. Planned numbers become record numbers just before records are read. So what is
drawn for a record, such as its crop, does not depend on what else was chosen, and a
subset of all records has the order of the records themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.selection import WEIGHT_ONE, dump_words, parse_words
from reader.shuffle.arrays import Int64s, UInt64s
from reader.shuffle.order import NO_RECORD, Blocks
from reader.shuffle.randomness import random_key

# Planned number of a record that is not chosen.
NOT_CHOSEN = -1
# Blocks whose weights are added up at once.
_BLOCKS_AT_ONCE = 1 << 16
# Records of a block, and bits of a word.
_WORD = 64


class Subset(Protocol):
    """Some of the records, renumbered.

    Attributes:
        num_records: Planned numbers of an epoch, the same for all epochs.
    """

    num_records: int

    def records(self, planned: Int64s, epochs: Int64s) -> tuple[Int64s, Int64s]:
        """Returns the record numbers of planned numbers, and the epochs to draw for.

        Args:
            planned: int64[n], planned numbers, or `NO_RECORD`, which stays.
            epochs: int64[n], epoch of each.

        Returns:
            int64[n] each. Copies of a record in one epoch differ in the second.
        """


class Chosen(NamedTuple):
    """The choice of records: all data that a subset is made of.

    Attributes:
        words: uint64[num_blocks], bit j of a word states whether record j of its block
            is chosen.
        weights: uint16[num_records], `WEIGHT_ONE` times the weight of each record, 0 of
            all that are not chosen; None if all have the weight 1.
    """

    words: UInt64s
    weights: NDArray[np.uint16] | None = None

    @property
    def num_records(self) -> int:
        """Number of chosen records."""
        return int(np.bitwise_count(self.words).sum(dtype=np.int64))

    def subset(self, base: Blocks, seed: int | str) -> "KeptRecords | WeightedRecords":
        """Returns the subset.

        Args:
            base: Blocks of all records.
            seed: Seed of what the weights decide in each epoch.
        """
        if self.weights is None:
            return KeptRecords(self.words, base)
        return WeightedRecords(self.weights, base, seed)


def pack(keep: NDArray[np.bool_], counts: Sequence[int]) -> UInt64s:
    """Returns the words of records, in which each shard begins a word of its own.

    Args:
        keep: bool[num_records], whether each record is chosen.
        counts: Number of records of each shard.
    """
    words = [np.zeros(0, np.uint64)]
    for part in np.split(keep, np.cumsum(counts)[:-1]):
        bits = np.zeros(-(-len(part) // _WORD) * _WORD, np.uint8)
        bits[: len(part)] = part
        words.append(parse_words(np.packbits(bits, bitorder="little").tobytes()))
    return np.concatenate(words)


def every(counts: Sequence[int]) -> UInt64s:
    """Returns the words of shards of which all records are chosen."""
    num = np.array(counts, np.int64)
    num_words, more = -(-num // _WORD), num % _WORD
    words = np.full(int(num_words.sum()), ~np.uint64(0))
    last = np.cumsum(num_words)[more > 0] - 1
    words[last] = (np.uint64(1) << more[more > 0].astype(np.uint64)) - np.uint64(1)
    return words


def unpack(words: UInt64s, counts: Sequence[int]) -> NDArray[np.bool_]:
    """Returns bool[num_records], whether each record is chosen; inverts `pack`."""
    num_words = -(-np.array(counts, np.int64) // _WORD)
    parts = np.split(_bits_of(words), np.cumsum(num_words)[:-1])
    kept = [bits.ravel()[:count] for bits, count in zip(parts, counts, strict=True)]
    return np.concatenate([np.zeros(0, np.uint8), *kept]).astype(np.bool_)


class KeptRecords:
    """The records whose bits are set.

    Attributes:
        num_records: Number of these records.
    """

    def __init__(self, words: UInt64s, base: Blocks) -> None:
        """Counts the records of each block.

        Args:
            words: uint64[num_blocks], bit j of a word is record j of its block.
            base: Blocks of all records.
        """
        self._words, self._base = words, base
        counts = np.bitwise_count(words)
        first = np.zeros(len(words) + 1, np.int64)
        np.cumsum(counts, out=first[1:])
        self._blocks = Blocks(first)
        self.num_records = int(first[-1])

    def blocks_of(self, epoch: int) -> Blocks:
        """Returns the same blocks for each epoch. A block may have no records."""
        return self._blocks

    def records(self, planned: Int64s, epochs: Int64s) -> tuple[Int64s, Int64s]:
        """Returns record numbers and the epochs as they are."""
        numbers = np.full_like(planned, NO_RECORD)
        there = planned >= 0
        wanted = planned[there]
        block = self._blocks.of_records(wanted)
        bits = _bits_of(self._words[block])
        before = wanted - self._blocks.first[block]
        # The place of the set bit that has so many set bits before it.
        places = (np.cumsum(bits, axis=1) > before[:, np.newaxis]).argmax(axis=1)
        numbers[there] = self._base.first[block] + places
        return numbers, epochs

    def planned(self, numbers: Int64s) -> Int64s:
        """Returns int64[n], the inverse of `records`; `NOT_CHOSEN` for others."""
        block = self._base.of_records(numbers)
        place = numbers - self._base.first[block]
        words, bit = self._words[block], place.astype(np.uint64)
        before = np.bitwise_count(words & ((np.uint64(1) << bit) - np.uint64(1)))
        is_chosen = (words >> bit) & np.uint64(1) == 1
        return np.where(is_chosen, self._blocks.first[block] + before, NOT_CHOSEN)


def _bits_of(words: UInt64s) -> NDArray[np.uint8]:
    """Returns uint8[n, 64], the bits of words, the lowest first."""
    octets = np.frombuffer(dump_words(words), np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1, bitorder="little")


class WeightedRecords:
    """Records that an epoch has as often as their weights say, exactly in the mean.

    A weight of 2.5 means two or three copies in an epoch. This is systematic sampling
    (Madow, 1949), in layers: layer c holds what a weight has above c, up to 1. So a
    record is in a layer at most once, and copies lie as far apart as other records.
    All weights are laid end to end, layer after layer. An epoch takes the records that
    the points k + s are in, for all whole k. The shift s takes each of its 256 values
    once in 256 epochs, so these have exactly 256 times the weight of each record, but
    for what is less than one record at the end of the last layer.

    Attributes:
        num_records: Number of records in an epoch, copies included.
    """

    def __init__(
        self, weights: NDArray[np.uint16], base: Blocks, seed: int | str
    ) -> None:
        """Sums up the weights.

        Args:
            weights: uint16[num_records], `WEIGHT_ONE` times the weight of each record.
            base: Blocks of all records.
            seed: Seed of the first shift.
        """
        self._weights, self._base = weights, base
        self._first_shift = random_key("copies", seed, 0) % WEIGHT_ONE
        self._num_blocks = len(base.first) - 1
        num_layers = -(-int(weights.max(initial=0)) // WEIGHT_ONE)
        # The sum before each block of each layer, and of all.
        self._sums = np.zeros(num_layers * self._num_blocks + 1, np.int64)
        for layer in range(num_layers):
            begin = layer * self._num_blocks
            self._sum_layer(layer, self._sums[begin : begin + self._num_blocks + 1])
        self.num_records = int(self._sums[-1]) // WEIGHT_ONE

    def _sum_layer(self, layer: int, sums: Int64s) -> None:
        """Adds up the blocks of a layer, from the first of the sums on."""
        first = self._base.first
        # Some blocks at a time, since there may be a billion records.
        for begin in range(0, self._num_blocks, _BLOCKS_AT_ONCE):
            end = min(begin + _BLOCKS_AT_ONCE, self._num_blocks)
            bounds = first[begin : end + 1] - first[begin]
            part = self._part(layer, slice(int(first[begin]), int(first[end])))
            within = np.concatenate([[0], np.cumsum(part, dtype=np.int64)])
            sums[begin + 1 : end + 1] = sums[begin] + within[bounds[1:]]

    def _part(self, layer: int | Int64s, which: Int64s | slice) -> Int64s:
        """Returns what the weights of some records have in a layer."""
        weights = self._weights[which].astype(np.int64)
        part: Int64s = np.clip(weights - layer * WEIGHT_ONE, 0, WEIGHT_ONE)
        return part

    def _shift(self, epoch: int) -> int:
        # 159 / 256 is near the golden ratio, so that epochs in turn are far apart. It
        # is odd, so that 256 epochs have all shifts.
        return (159 * epoch + self._first_shift) % WEIGHT_ONE

    def blocks_of(self, epoch: int) -> Blocks:
        """Returns the blocks of an epoch: those of the first layer, then the next."""
        before = -(-(self._sums - self._shift(epoch)) // WEIGHT_ONE)
        first = np.clip(before, 0, self.num_records)
        first[-1] = self.num_records
        return Blocks(first)

    def records(self, planned: Int64s, epochs: Int64s) -> tuple[Int64s, Int64s]:
        """Returns record numbers, and epochs of which those of copies are others."""
        numbers, drawn = np.full_like(planned, NO_RECORD), epochs.copy()
        for epoch in np.unique(epochs).tolist():
            mine = (epochs == epoch) & (planned >= 0)
            points = planned[mine] * WEIGHT_ONE + self._shift(epoch)
            numbers[mine], layers = self._at(points)
            drawn[mine] += layers << 32
        return numbers, drawn

    def _at(self, points: Int64s) -> tuple[Int64s, Int64s]:
        """Returns the records that points are in, and their layers."""
        cell = np.searchsorted(self._sums, points, side="right") - 1
        layer, block = np.divmod(cell, max(1, self._num_blocks))
        first = self._base.first
        rows = first[block][:, np.newaxis] + np.arange(_WORD)
        inside = rows < first[block + 1][:, np.newaxis]
        part = self._part(layer[:, np.newaxis], np.where(inside, rows, 0))
        within = np.cumsum(np.where(inside, part, 0), axis=1)
        passed = self._sums[cell][:, np.newaxis] + within <= points[:, np.newaxis]
        numbers: Int64s = first[block] + passed.sum(axis=1)
        return numbers, layer


class JoinedSubsets:
    """Subsets of several datasets, end to end, as a mixture numbers its records.

    Attributes:
        num_records: Planned numbers of all.
    """

    def __init__(self, parts: Sequence[tuple[Subset | None, int]]) -> None:
        """Adds up the numbers.

        Args:
            parts: Subset of each dataset, None for the whole, and the number of all its
                records.
        """
        self._subsets = [subset for subset, _ in parts]
        planned = [
            num if subset is None else subset.num_records for subset, num in parts
        ]
        self._planned = np.concatenate([[0], np.cumsum(planned)])
        self._first = np.concatenate([[0], np.cumsum([num for _, num in parts])])
        self.num_records = int(self._planned[-1])

    def records(self, planned: Int64s, epochs: Int64s) -> tuple[Int64s, Int64s]:
        """Returns record numbers, counted over all datasets, and epochs to draw for."""
        numbers, drawn = np.full_like(planned, NO_RECORD), epochs.copy()
        for part, subset in enumerate(self._subsets):
            begin, end = self._planned[part : part + 2].tolist()
            mine = (planned >= begin) & (planned < end)
            found = planned[mine] - begin
            if subset is not None:
                found, drawn[mine] = subset.records(found, epochs[mine])
            numbers[mine] = self._first[part] + found
        return numbers, drawn
