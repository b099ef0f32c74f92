"""Several datasets by weight: an order without end, as easy to enter at any place.

Each stream follows a fixed pattern of datasets in which every stretch has about the
right share of each, and takes the next record of that stream of the dataset whose turn
it is. How often a dataset had its turn is a sum over whole patterns and a look-up.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s
from reader.shuffle.order import NUM_STREAMS, Share, ShuffledOrder, Stretch, Window
from reader.shuffle.randomness import permutation, random_bits, random_key

# Turns of a pattern: weights are met to one in so many.
PATTERN_TURNS = 4096


class Part(NamedTuple):
    """A dataset of a mixture.

    Attributes:
        order: Of its records.
        begin: The number of its first record, among those of all parts.
    """

    order: ShuffledOrder
    begin: int


def share_turns(weights: Sequence[float]) -> list[int]:
    """Returns how many of the turns each weight gets: one at least.

    >>> share_turns([3, 1])
    [3072, 1024]
    """
    exact = np.array(weights) / sum(weights) * PATTERN_TURNS
    turns = np.maximum(np.round(exact), 1).astype(np.int64)
    while (over := int(turns.sum()) - PATTERN_TURNS) != 0:
        # From, or to, the one that is furthest off.
        off = np.where(turns - over // abs(over) < 1, -np.inf, (turns - exact) * over)
        turns[np.argmax(off)] -= over // abs(over)
    return [int(turn) for turn in turns]


def stream_phases() -> Int64s:
    """Returns int64[NUM_STREAMS]: where in the pattern each stream begins.

    Each in a part of its own of the pattern, in any order, at any place of its part: so
    a round has about the right share of each dataset, however often its turn comes.
    """
    key = random_key("phases", 0, 0)
    parts = permutation(key, NUM_STREAMS)
    within = random_bits(key, np.arange(NUM_STREAMS, 2 * NUM_STREAMS))
    within = (within % np.uint64(PATTERN_TURNS)).astype(np.int64)
    return (parts * PATTERN_TURNS + within) // NUM_STREAMS


def spread_turns(turns: Sequence[int]) -> Int64s:
    """Returns int64[sum of turns]: whose turn it is, each evenly spread.

    >>> spread_turns([2, 1]).tolist()
    [0, 1, 0]
    """
    when = np.concatenate([(np.arange(num) + 0.5) / num for num in turns])
    whose = np.repeat(np.arange(len(turns)), turns)
    return whose[np.argsort(when, kind="stable")]


class MixedOrder:
    """The order of a mixture. It has no epochs: stretches are of an endless one."""

    def __init__(
        self, parts: Sequence[Part], weights: Sequence[float], rounds: int
    ) -> None:
        """Takes the parts, how much of each to take, and the size of a window."""
        self._parts, self._rounds = parts, rounds
        self._pattern = spread_turns(share_turns(weights))
        self._phases = stream_phases()
        had = self._pattern[:, np.newaxis] == np.arange(len(parts))
        # int64[turns + 1, parts]: how often each part had its turn before.
        self._had = np.concatenate([[[0] * len(parts)], np.cumsum(had, axis=0)])

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        size = self._rounds * NUM_STREAMS
        for begin in range(stretch.start // size * size, stretch.stop, size):
            numbers, epochs = self._window(begin // NUM_STREAMS, share)
            first = share.count(begin)
            start = max(0, share.count(stretch.start) - first)
            stop = min(len(numbers), share.count(stretch.stop) - first)
            keep, columns = (start, stop), len(share.streams)
            yield Window(numbers, columns, keep, begin // size, epochs)

    def _window(self, begin: int, share: Share) -> tuple[Int64s, Int64s]:
        streams = np.broadcast_to(
            share.streams[:, np.newaxis], (len(share.streams), self._rounds)
        )
        turn = begin + np.arange(self._rounds) + self._phases[streams]
        whose = self._pattern[turn % PATTERN_TURNS]
        numbers, epochs = np.empty_like(turn), np.empty_like(turn)
        for index, part in enumerate(self._parts):
            mine = whose == index
            before = self._turns(self._phases[streams[mine]], index)
            had = self._turns(turn[mine], index) - before
            numbers[mine], epochs[mine] = _take(part, streams[mine], had)
        return numbers.T.ravel(), epochs.T.ravel()

    def _turns(self, turn: Int64s, part: int) -> Int64s:
        """Returns how often a part had its turn before these."""
        patterns, rest = np.divmod(turn, PATTERN_TURNS)
        counts: Int64s = patterns * self._had[-1, part] + self._had[rest, part]
        return counts


def _take(part: Part, streams: Int64s, had: Int64s) -> tuple[Int64s, Int64s]:
    """Returns a part's records of a window, shuffled in each stream, and their epochs.

    A part's epochs lie end to end; its g-th example is of stream g mod NUM_STREAMS.
    """
    epochs, places = np.divmod(had * NUM_STREAMS + streams, part.order.num_records)
    numbers, bits = np.empty_like(had), np.empty(had.shape, np.uint64)
    for epoch in np.unique(epochs):
        mine, order = epochs == epoch, part.order.epoch(int(epoch))
        row, stream = np.divmod(places[mine], NUM_STREAMS)
        numbers[mine] = order.stream_part(stream, row)
        bits[mine] = order.window_bits(numbers[mine])
    # The cells of a stream stand together, in the order of rounds.
    sooner = np.lexsort((bits, streams))
    return part.begin + numbers[sooner], epochs[sooner]
