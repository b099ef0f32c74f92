"""Yields the windows of a host with the reads for each window."""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import DatasetError
from reader.datasets.record_index import Reads, RecordIndex
from reader.schedule.laps import Laps
from reader.shuffle.arrays import Float64s, Int64s
from reader.shuffle.order import NO_RECORD, Window
from reader.shuffle.randomness import Draws
from reader.shuffle.shares import Share, Stretch
from reader.shuffle.subset import Subset

# With many hosts, a host has few records of a window, and each read of a window takes
# time: so many are read together, if they are no larger than this.
_FEWEST_RECORDS = 64
_MOST_BYTES = 4 << 20


class Order(Protocol):
    """Order of records."""

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""


class EpochStretches(Protocol):
    """Stretches of the order that each iterator reads."""

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields the stretches of an iterator; `iterator` counts from 0."""


class Placed(NamedTuple):
    """Records of a window in order, each with its place.

    Attributes:
        places: int64[n, 4 + 3 * layers], as `RecordIndex.places` returns them.
        blank: bool[n], True for padding after the last record of an epoch.
        draws: float64[n, draws], random numbers of each record.
        laps: int64[n], lap of each record, for `Windows.note_read`. A lap is an epoch
            of an iterator.
    """

    places: Int64s
    blank: NDArray[np.bool_]
    draws: Float64s
    laps: Int64s

    def at(self, which: Int64s | slice) -> "Placed":
        """Returns some of the records."""
        return Placed(
            self.places[which], self.blank[which], self.draws[which], self.laps[which]
        )

    @staticmethod
    def joined(parts: "Sequence[Placed]") -> "Placed":
        """Returns the records of all parts."""
        return Placed(
            np.concatenate([part.places for part in parts]),
            np.concatenate([part.blank for part in parts]),
            np.concatenate([part.draws for part in parts]),
            np.concatenate([part.laps for part in parts]),
        )


# (window, number of its streams, whether to sort from long to short) → int64[n]
Arrange = Callable[[Placed, int, bool], Int64s]


class _Turn(NamedTuple):
    """A window, the one after it, and whether it is the last of its epoch."""

    epoch: int
    window: Window
    upcoming: Window | None
    ends_epoch: bool


class Windows:
    """Windows that a host reads; each call starts the next iterator.

    Attributes:
        index: Index of the records' files and byte offsets.
        draws: Random numbers of each record, such as for crops.
        sorted: Whether the records of a window are sorted after reading.
        num_iterators: Number of iterators started so far.
        left_early: Whether an iterator was started before the previous one was
            exhausted.
        error: Error that ended the reading; None without an error.
    """

    def __init__(
        self,
        order: Order,
        run: EpochStretches,
        share: Share,
        index: RecordIndex,
        draws: Draws,
        subset: Subset | None = None,
        *,
        whole: bool,
        at_end: Any,
    ) -> None:
        """Creates the windows of a host.

        Args:
            order: Order of the records, in planned numbers if there is a subset.
            run: Stretches of the order that each iterator reads.
            share: Share of this host in each step.
            index: Index of the records' files and byte offsets.
            draws: Random numbers of each record, such as for crops.
            subset: Record numbers of planned numbers; None if these are the same.
            whole: Whether to read whole windows even if only a part is kept, because
                the window is sorted first.
            at_end: Function called at the end of each epoch, with the epoch, and with
                the lap if there are laps.
        """
        self.index, self.draws = index, draws
        self.left_early = False
        self.error: DatasetError | OSError | None = None
        self.num_iterators = self._num_ended = 0
        self._order, self._run, self._share = order, run, share
        self._subset = subset
        self.sorted, self._at_end = whole, at_end
        self._laps, self._lap_numbers = Laps(at_end), itertools.count()
        self._fewest = 1
        if share.host_count > 1:
            mean = max(1, index.num_bytes // max(1, index.num_records))
            self._fewest = max(1, min(_FEWEST_RECORDS, _MOST_BYTES // mean))

    def __call__(self) -> Iterator[tuple[Any, ...]]:
        """Starts the next iterator, with the reads of each window."""
        return self._with_reads(self._start())

    def _with_reads(self, turns: Iterator[_Turn]) -> Iterator[tuple[Any, ...]]:
        for turn in turns:
            window = turn.window
            reads: Reads = self._looked_up(self.index.reads, window)
            yield (
                ((reads.pieces, reads.lengths), *reads.layers),
                reads.numbers,
                reads.order,
                window.numbers == NO_RECORD,
                self.index.datasets_of(window.numbers),
                self.draws.of(window.numbers, window.epochs),
                window.columns,
                window.number % 2 == 1,
                window.keep,
            )
            if turn.ends_epoch:
                self._at_end(turn.epoch)

    def placed(
        self, read_ahead: Callable[[Int64s], None], arrange: Arrange | None = None
    ) -> Iterator[Placed]:
        """Starts the next iterator, with the place of each record.

        What reads the records calls `note_read`.

        Args:
            read_ahead: Function called with the places of a window before the window
                in front of it is yielded.
            arrange: Function that sorts a window; None keeps the order.
        """
        return self._with_places(self._start(), read_ahead, arrange)

    def _with_places(
        self,
        turns: Iterator[_Turn],
        read_ahead: Callable[[Int64s], None],
        arrange: Arrange | None,
    ) -> Iterator[Placed]:
        upcoming, lap = None, next(self._lap_numbers)
        for turn in turns:
            window, places = turn.window, upcoming
            if places is None:
                places = self._looked_up(self.index.places, window)
                read_ahead(places)
            upcoming = None
            if turn.upcoming is not None:
                # An error is raised when it is the window's turn.
                with contextlib.suppress(DatasetError, OSError):
                    upcoming = self.index.places(turn.upcoming.numbers)
                    read_ahead(upcoming)
            blank, laps = window.numbers == NO_RECORD, np.full(len(places), lap)
            draws = self.draws.of(window.numbers, window.epochs)
            placed = Placed(places, blank, draws, laps)
            if arrange is not None:
                descending = window.number % 2 == 1
                kept = arrange(placed, window.columns, descending)[window.keep]
                placed = placed.at(kept)
            self._laps.hand_out(lap, len(placed.places))
            if turn.ends_epoch:
                self._laps.end(lap, turn.epoch)
                lap = next(self._lap_numbers)
            yield placed

    def numbers(self) -> Iterator[tuple[Int64s, Int64s]]:
        """Starts the next iterator, with the number and epoch of each record."""
        return ((turn.window.numbers, turn.window.epochs) for turn in self._start())

    def note_read(self, lap: int, num: int) -> None:
        """States that records were read; ends the epoch of their lap with the last.

        Args:
            lap: Lap of the records.
            num: Number of records.
        """
        self._laps.note_read(lap, num)

    def _start(self) -> Iterator[_Turn]:
        self.left_early |= self._num_ended < self.num_iterators
        stretches = self._run.stretches(self.num_iterators)
        self.num_iterators += 1
        return self._turns(stretches)

    def _turns(self, stretches: Iterator[Stretch]) -> Iterator[_Turn]:
        parts = (
            (stretch.epoch, window)
            for stretch in stretches
            for window in self.of(stretch)
        )
        part = next(parts, None)
        self._num_ended += part is None
        while part is not None:
            epoch, window = part
            part = next(parts, None)
            self._num_ended += part is None
            upcoming = None if part is None else part[1]
            yield _Turn(epoch, window, upcoming, part is None or part[0] != epoch)

    def _looked_up(self, look_up: Callable[[Int64s], Any], window: Window) -> Any:
        try:
            return look_up(window.numbers)
        except (DatasetError, OSError) as error:
            # TensorFlow raises its own error, which keeps only the text of this one.
            self.error = copy.copy(error)
            raise

    def of_iterator(self, iterator: int) -> Iterator[Window]:
        """Yields the windows of an iterator without starting it; counts from 0."""
        for stretch in self._run.stretches(iterator):
            yield from self.of(stretch)

    def of(self, stretch: Stretch) -> Iterator[Window]:
        """Yields this host's windows of a stretch, small parts of several as one."""
        windows = self._order.windows(stretch, self._share)
        if self.sorted:
            yield from map(self._recorded, windows)
            return
        together: list[Window] = []
        for window in windows:
            together.append(self._recorded(window.cut()))
            if sum(len(each.numbers) for each in together) >= self._fewest:
                yield _joined(together)
                together = []
        if together:
            yield _joined(together)

    def _recorded(self, window: Window) -> Window:
        """Returns a window of planned numbers in record numbers."""
        if self._subset is None:
            return window
        numbers, epochs = self._subset.records(window.numbers, window.epochs)
        return window._replace(numbers=numbers, epochs=epochs)


def _joined(windows: Sequence[Window]) -> Window:
    numbers = np.concatenate([window.numbers for window in windows])
    epochs = np.concatenate([window.epochs for window in windows])
    keep = np.arange(len(numbers))
    return windows[0]._replace(numbers=numbers, epochs=epochs, keep=keep)
