"""Yields the windows of a host with the reads for each window."""

import copy
import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import DatasetError
from reader.datasets.record_index import Reads, RecordIndex
from reader.range_cache.range_cache import RangeCache
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
# Windows that are staged between two that are yielded.
_MOST_NEW = 4


class Order(Protocol):
    """Order of records.

    Attributes:
        num_records: Number of records in an epoch; 0 without epochs.
        window_records: Number of records in a window, over all hosts.
    """

    @property
    def num_records(self) -> int: ...  # noqa: D102

    @property
    def window_records(self) -> int: ...  # noqa: D102

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


class Staging(Protocol):
    """Brings the records of an iterator's coming windows near, before they are read.

    Threads may share an instance. All places are int64[n, 4 + 3 * layers].
    """

    def stage(self, places: Int64s, clock: int) -> Int64s:
        """Begins to bring the records of a window near.

        Args:
            places: As `RecordIndex.places` returns them.
            clock: Begin of the window in examples of the run, epoch after epoch.

        Returns:
            Where to read the records, in the same form.
        """

    def has_room(self) -> bool:
        """Returns whether more than the next window should be staged."""

    def is_ready(self, places: Int64s) -> bool:
        """Returns whether `wait` would return at once."""

    def wait(self, places: Int64s) -> None:
        """Waits until records can be read.

        Args:
            places: Some of the places that `stage` returned.

        Raises:
            DatasetError: A file is missing.
            OSError: A record cannot be read.
        """

    def done(self, places: Int64s) -> None:
        """States that these records are no longer read.

        Args:
            places: Some of the places that `stage` returned.
        """

    def close(self) -> None:
        """States that no record is read any longer; ends waits with an error."""


class Staged(NamedTuple):
    """A window whose records are brought near.

    Attributes:
        places: int64[n, 4 + 3 * layers], where to read each record.
        blank: bool[n], True for padding after the last record of an epoch.
        datasets: int32[n], number of the dataset that each record belongs to.
        draws: float64[n, draws], random numbers of each record.
        columns: Number of streams that the records alternate between, round-robin.
        descending: Whether to sort from long to short.
        keep: int64[k], positions of the records to keep after sorting.
    """

    places: Int64s
    blank: NDArray[np.bool_]
    datasets: NDArray[np.int32]
    draws: Float64s
    columns: int
    descending: bool
    keep: Int64s


class _Turn(NamedTuple):
    """A window, whether it is the last of its epoch, and of its iterator."""

    epoch: int
    window: Window
    ends_epoch: bool
    is_last: bool


class Windows:
    """Windows that a host reads; each call starts the next iterator.

    Attributes:
        index: Index of the records' files and byte offsets.
        draws: Random numbers of each record, such as for crops.
        sorted: Whether the records of a window are sorted after reading.
        is_sparse: Whether a selection of the records is read.
        open_cache: Function that opens the cache of remote files, if there is one.
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
        open_cache: Callable[[], RangeCache | None] = lambda: None,
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
            open_cache: Function that opens the cache of remote files, if there is one.
        """
        self.index, self.draws, self.open_cache = index, draws, open_cache
        self.left_early = False
        self.error: DatasetError | OSError | None = None
        self.num_iterators = self._num_ended = 0
        self._order, self._run, self._share = order, run, share
        self._subset, self.is_sparse = subset, subset is not None
        self.sorted, self._at_end = whole, at_end
        self._laps, self._lap_numbers = Laps(at_end), itertools.count()
        self._stagings: weakref.WeakSet[Staging] = weakref.WeakSet()
        self._fewest = 1
        if share.host_count > 1:
            mean = max(1, index.num_bytes // max(1, index.num_records))
            self._fewest = max(1, min(_FEWEST_RECORDS, _MOST_BYTES // mean))

    def __call__(self) -> Iterator[tuple[Any, ...]]:
        """Starts the next iterator, with the reads of each window."""
        return self._with_reads(self._start())

    def _with_reads(self, turns: Iterator[_Turn]) -> Iterator[tuple[Any, ...]]:
        for turn in turns:
            self._num_ended += turn.is_last
            try:
                reads: Reads = self.index.reads(turn.window.numbers)
            except (DatasetError, OSError) as error:
                raise self._noted(error) from None
            pieces = ((reads.pieces, reads.lengths), *reads.layers)
            yield (
                (pieces, reads.numbers, reads.order),
                *self._rest_of(turn.window),
            )
            if turn.ends_epoch:
                self._at_end(turn.epoch)

    def placed(
        self, staging: Staging, arrange: Arrange | None = None
    ) -> Iterator[Placed]:
        """Starts the next iterator, with the place of each record.

        The reader of the records calls `note_read`, and the methods of `staging`.

        Args:
            staging: Brings the records of coming windows near.
            arrange: Function that sorts a window; None keeps the order.
        """
        return self._with_places(self._start(), staging, arrange)

    def _with_places(
        self, turns: Iterator[_Turn], staging: Staging, arrange: Arrange | None
    ) -> Iterator[Placed]:
        lap = next(self._lap_numbers)
        for turn, places in self._staged(turns, staging):
            window = turn.window
            blank, laps = window.numbers == NO_RECORD, np.full(len(places), lap)
            draws = self.draws.of(window.numbers, window.epochs)
            placed = Placed(places, blank, draws, laps)
            if arrange is not None:
                staging.wait(places)
                descending = window.number % 2 == 1
                kept = arrange(placed, window.columns, descending)[window.keep]
                staging.done(np.delete(places, kept, axis=0))
                placed = placed.at(kept)
            self._laps.hand_out(lap, len(placed.places))
            if turn.ends_epoch:
                self._laps.end(lap, turn.epoch)
                lap = next(self._lap_numbers)
            yield placed

    def staged(self, staging: Staging) -> Iterator[Staged]:
        """Starts the next iterator, with windows whose records can be read.

        Args:
            staging: Brings the records of coming windows near.
        """
        return self._when_ready(self._start(), staging)

    def _when_ready(self, turns: Iterator[_Turn], staging: Staging) -> Iterator[Staged]:
        for turn, places in self._staged(turns, staging):
            staging.wait(places)
            yield Staged(places, *self._rest_of(turn.window))
            staging.done(places)
            if turn.ends_epoch:
                self._at_end(turn.epoch)

    def _rest_of(self, window: Window) -> tuple[Any, ...]:
        """Returns what `Staged` has of a window besides the places."""
        return (
            window.numbers == NO_RECORD,
            self.index.datasets_of(window.numbers),
            self.draws.of(window.numbers, window.epochs),
            window.columns,
            window.number % 2 == 1,
            window.keep,
        )

    def _staged(
        self, turns: Iterator[_Turn], staging: Staging
    ) -> Iterator[tuple[_Turn, Int64s]]:
        """Yields windows with the places of their records, when the next is staged."""
        self._stagings.add(staging)
        staged: deque[tuple[_Turn, Int64s | DatasetError | OSError]] = deque()
        num_new = 0
        for turn in turns:
            staged.append((turn, self._try_to_stage(turn, staging)))
            num_new += 1
            # The first window does not wait until as many as there is room for are
            # staged: each of them takes some milliseconds.
            while len(staged) > 1 and (num_new >= _MOST_NEW or not staging.has_room()):
                yield self._next(staged)
                num_new = 0
        while staged:
            yield self._next(staged)

    def abandon(self) -> None:
        """Ends all iterators that wait for records, or will."""
        for staging in list(self._stagings):
            staging.close()

    def _try_to_stage(
        self, turn: _Turn, staging: Staging
    ) -> Int64s | DatasetError | OSError:
        order, window = self._order, turn.window
        clock = turn.epoch * order.num_records + window.number * order.window_records
        try:
            return staging.stage(self.index.places(window.numbers), clock)
        except (DatasetError, OSError) as error:
            return error  # It is raised when it is the window's turn.

    def _next(
        self, staged: deque[tuple[_Turn, Int64s | DatasetError | OSError]]
    ) -> tuple[_Turn, Int64s]:
        turn, places = staged.popleft()
        if isinstance(places, Exception):
            try:
                raise self._noted(places)
            finally:
                # Its traceback would keep this frame, and this frame the error.
                del places
        self._num_ended += turn.is_last
        return turn, places

    def numbers(self) -> Iterator[tuple[Int64s, Int64s]]:
        """Starts the next iterator, with the number and epoch of each record."""
        return self._with_epochs(self._start())

    def _with_epochs(self, turns: Iterator[_Turn]) -> Iterator[tuple[Int64s, Int64s]]:
        for turn in turns:
            self._num_ended += turn.is_last
            yield turn.window.numbers, turn.window.epochs

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
            ends_epoch = part is None or part[0] != epoch
            yield _Turn(epoch, window, ends_epoch, is_last=part is None)

    def _noted(self, error: DatasetError | OSError) -> DatasetError | OSError:
        # TensorFlow raises its own error, which keeps only the text of this one.
        self.error = copy.copy(error)
        return error

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
