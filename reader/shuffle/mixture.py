"""The order of a weighted mixture of datasets: endless, with constant-time seeks.

Each stream repeats a fixed pattern of datasets, in which every stretch has about the
right share of each dataset. At each turn the stream takes the next record of the
same stream of the pattern's dataset. The number of turns that a dataset had before any
position is computed from the number of whole patterns and a lookup table.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s
from reader.shuffle.next_uses import MixedUses, ShuffledUses
from reader.shuffle.order import ShuffledOrder, Window
from reader.shuffle.randomness import permutation, random_bits, random_key
from reader.shuffle.shares import Share, Stretch, cells_of, windows_of

# Number of turns in a pattern. Weights are accurate to one turn of these.
PATTERN_TURNS = 4096


class Part(NamedTuple):
    """A dataset of a mixture.

    Attributes:
        order: Order of the dataset's records.
        begin: Number of the dataset's first record among the records of all parts.
    """

    order: ShuffledOrder
    begin: int


def share_turns(weights: Sequence[float]) -> list[int]:
    """Divides the turns of a pattern by weight; each weight gets at least one turn.

    >>> share_turns([3, 1])
    [3072, 1024]
    """
    exact = np.array(weights) / sum(weights) * PATTERN_TURNS
    turns = np.maximum(np.round(exact), 1).astype(np.int64)
    while (over := int(turns.sum()) - PATTERN_TURNS) != 0:
        # Moves one turn away from or to the weight with the largest error.
        off = np.where(turns - over // abs(over) < 1, -np.inf, (turns - exact) * over)
        turns[np.argmax(off)] -= over // abs(over)
    return [int(turn) for turn in turns]


def stream_phases(num_streams: int) -> Int64s:
    """Returns the start of each stream in the pattern, int64[num_streams].

    The pattern is divided into as many sections. Each stream starts at a random
    position in a different section, and the sections are in random order. So each round
    has about the right share of each dataset, for frequent and rare datasets.
    """
    key = random_key("phases", 0, 0)
    parts = permutation(key, num_streams)
    within = random_bits(key, np.arange(num_streams, 2 * num_streams))
    within = (within % np.uint64(PATTERN_TURNS)).astype(np.int64)
    return (parts * PATTERN_TURNS + within) // num_streams


def spread_turns(turns: Sequence[int]) -> Int64s:
    """Returns the part of each turn, int64[sum of turns], with parts evenly spread.

    >>> spread_turns([2, 1]).tolist()
    [0, 1, 0]
    """
    when = np.concatenate([(np.arange(num) + 0.5) / num for num in turns])
    whose = np.repeat(np.arange(len(turns)), turns)
    return whose[np.argsort(when, kind="stable")]


class MixedOrder:
    """The order of a mixture.

    A mixture has no epochs: all stretches belong to one endless epoch.

    Attributes:
        num_records: 0, since there are no epochs.
        window_records: Number of records in a window, over all hosts.
    """

    def __init__(
        self, parts: Sequence[Part], weights: Sequence[float], rounds: int
    ) -> None:
        """Creates the order.

        Args:
            parts: Datasets of the mixture.
            weights: Weight of each dataset; only their ratios matter.
            rounds: Number of records of each stream in a window.
        """
        self._parts, self._rounds = parts, rounds
        self._num_streams = parts[0].order.num_streams
        self.num_records = 0
        self.window_records = rounds * self._num_streams
        self._pattern = spread_turns(share_turns(weights))
        self._phases = stream_phases(self._num_streams)
        had = self._pattern[:, np.newaxis] == np.arange(len(parts))
        # int64[turns + 1, parts], number of turns of each part before a turn.
        self._had = np.concatenate([[[0] * len(parts)], np.cumsum(had, axis=0)])

    def next_uses(self, num_blocks: Sequence[int], share: Share) -> MixedUses:
        """Returns when blocks are needed next.

        Args:
            num_blocks: Number of blocks of each part in the index.
            share: Share of this host.
        """
        uses = [
            ShuffledUses(part.order, num, share, endless=True)
            for part, num in zip(self._parts, num_blocks, strict=True)
        ]
        rates = self._had[-1] / PATTERN_TURNS
        return MixedUses(list(zip(uses, num_blocks, strict=True)), rates.tolist())

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""
        size = self.window_records
        for begin in windows_of(stretch, size):
            mine = share.positions(stretch, begin, begin + size, self._num_streams)
            if len(mine):
                streams, keep = cells_of(mine - begin, self._num_streams)
                numbers, epochs = self._window(begin // self._num_streams, streams)
                yield Window(numbers, len(streams), keep, begin // size, epochs)

    def _window(self, begin: int, which: Int64s) -> tuple[Int64s, Int64s]:
        """Returns the records of streams in a window, round-robin, and their epochs."""
        streams = np.broadcast_to(which[:, np.newaxis], (len(which), self._rounds))
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
        """Returns the number of turns of a part before each of these turns."""
        patterns, rest = np.divmod(turn, PATTERN_TURNS)
        counts: Int64s = patterns * self._had[-1, part] + self._had[rest, part]
        return counts


def _take(part: Part, streams: Int64s, had: Int64s) -> tuple[Int64s, Int64s]:
    """Returns a part's records of a window, shuffled in each stream, and their epochs.

    The epochs of a part follow one another, and its g-th example belongs to stream
    g mod its number of streams.
    """
    num_streams = part.order.num_streams
    epochs, places = np.divmod(had * num_streams + streams, part.order.num_records)
    numbers, bits = np.empty_like(had), np.empty(had.shape, np.uint64)
    for epoch in np.unique(epochs):
        mine, order = epochs == epoch, part.order.epoch(int(epoch))
        row, stream = np.divmod(places[mine], num_streams)
        numbers[mine] = order.stream_part(stream, row)
        bits[mine] = order.window_bits(numbers[mine])
    # The cells of a stream are adjacent, in the order of rounds.
    sooner = np.lexsort((bits, streams))
    return part.begin + numbers[sooner], epochs[sooner]
