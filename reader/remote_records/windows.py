"""Fetches the records of coming windows: START HERE."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import UsageError
from reader.datasets.record_index import RecordIndex, Span
from reader.pixel_workers.shared_memory import Area, Areas
from reader.range_cache.pieces import Piece
from reader.remote_records.fetch import Requests
from reader.remote_records.ranges import Records, pieces_of
from reader.remote_records.threads import threads
from reader.remote_records.waits import waits
from reader.shuffle.arrays import Int64s

# (record number, what was to be read, error of the store) → error to raise
Explain = Callable[[int, Span, OSError], Exception]

_CHECK_SECONDS = 0.5


class AbandonedError(RuntimeError):
    """Raised by an iterator that is no longer wanted, or that ends with Python."""

    def __init__(self) -> None:
        """Creates the error."""
        super().__init__("this iterator was interrupted: start a new one")


@dataclass
class _Window:
    """Records of a window in memory.

    Attributes:
        area: Memory of the records.
        numbers: int64[n], numbers of its distinct records, ascending.
        targets: int64[n], byte offset of each of them in memory, ascending.
        requests: int64[1 + layers, n], index of the requests for each of them.
        pending: bool[k], True for requests that have not been answered.
        num_unread: Number of places that may still be read.
        clock: Clock of the run at the window, for the cache.
        num_running: Number of requests that are writing to the memory.
        errors: Errors of requests, with the piece that they were for.
    """

    area: Area
    numbers: Int64s
    targets: Int64s
    requests: Int64s
    pending: NDArray[np.bool_]
    num_unread: int
    clock: int
    num_running: int = 0
    errors: dict[int, tuple[Piece, OSError]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    """Requests for some pieces of a window."""

    windows: "FetchedWindows"
    window: _Window
    index: int
    pieces: Sequence[Piece]
    num_bytes: int

    @property
    def is_wanted(self) -> bool:
        return not self.windows.is_closed

    def run(self) -> None:
        self.windows.fetch(self.window, self.index, self.pieces)


class FetchedWindows:
    """Fetches the records of an iterator's windows into memory, ahead of their use.

    It is a `Staging`. Threads may share an instance.

    Attributes:
        is_closed: Whether its records are no longer wanted.
    """

    def __init__(
        self,
        index: RecordIndex,
        requests: Requests,
        areas: Areas,
        explain: Explain,
        *,
        num_urgent: int,
        ahead_bytes: int,
    ) -> None:
        """Fetches nothing yet.

        Args:
            index: Index of the records. The memory comes after its last file.
            requests: Reads pieces of files into memory.
            areas: Areas of this memory.
            explain: Returns the error to raise for a record that cannot be fetched.
            num_urgent: Number of records at the start of the first window that are
                requested before the others, which are those of the first batch.
            ahead_bytes: Size of the windows in memory at which no further one is
                fetched, besides the next.
        """
        self._blocks, self._files = index.blocks, index.files
        self._requests, self._areas = requests, areas
        self._explain = explain
        self._num_urgent, self._ahead_bytes = num_urgent, ahead_bytes
        self._process = os.getpid()
        # A lock that the garbage collector may take again, when it closes an iterator.
        self._changed = threading.Condition(threading.RLock())
        self._windows: dict[int, _Window] = {}
        self.is_closed = False

    def stage(self, places: Int64s, clock: int) -> Int64s:
        """Begins to fetch the records of a window; as `Staging.stage`."""
        self._check_process()
        if not len(places):
            return places
        numbers, first, inverse = np.unique(
            places[:, 0], return_index=True, return_inverse=True
        )
        of_files = places[first, 1:].reshape(len(first), -1, 3)
        lengths = of_files[:, :, 2] - of_files[:, :, 1]
        ends = np.cumsum(lengths.T.ravel()).reshape(-1, len(first)).T
        area = self._areas.take(int(ends[-1, -1]))
        targets = area.offset + ends - lengths
        groups, requests = self._groups(numbers, of_files, targets, first)
        window = _Window(
            area=area,
            numbers=numbers,
            targets=targets[:, 0],
            requests=requests,
            pending=np.ones(len(groups), np.bool_),
            num_unread=len(places),
            clock=clock,
        )
        with self._changed:
            if self.is_closed:
                self._areas.give(area)
                raise AbandonedError
            self._windows[area.offset] = window
        threads().run(
            [
                _Task(self, window, n, pieces, sum(p.end - p.begin for p in pieces))
                for n, pieces in enumerate(groups)
            ]
        )
        memory = np.full_like(targets, len(self._files))
        staged = np.stack([memory, targets, targets + lengths], axis=2)[inverse]
        return np.column_stack([places[:, 0], staged.reshape(len(places), -1)])

    def _groups(
        self, numbers: Int64s, of_files: Int64s, targets: Int64s, first: Int64s
    ) -> tuple[list[list[Piece]], Int64s]:
        """Returns what to request together, and int64[1 + layers, n] of each record.

        What is needed first comes first.

        Args:
            numbers: int64[n], numbers of the records, ascending.
            of_files: int64[n, 1 + layers, 3], file, begin and end of each record.
            targets: int64[n, 1 + layers], byte offset in memory of each record.
            first: int64[n], position in the window at which each record is needed.
        """
        blocks = self._blocks.of_records(numbers)
        groups: list[list[Piece]] = []
        group_of = np.zeros(targets.T.shape, np.int64)
        urgent, self._num_urgent = first < self._num_urgent, 0
        for which in (np.flatnonzero(urgent), np.flatnonzero(~urgent)):
            for layer in range(targets.shape[1]):
                file, begin, end = of_files[:, layer].T
                records = Records(blocks, file, begin, end, targets[:, layer])
                pieces, piece_of = pieces_of(records.some(which))
                num_pieces = []
                for group in self._requests.grouped(pieces):
                    groups.append(group)
                    num_pieces.append(len(group))
                before = len(groups) - len(num_pieces)
                of_piece = np.repeat(np.arange(len(num_pieces)), num_pieces) + before
                group_of[layer, which] = of_piece[piece_of]
        need = np.full(len(groups), len(first))
        np.minimum.at(need, group_of, first)
        order = np.argsort(need, kind="stable")
        return [groups[n] for n in order.tolist()], np.argsort(order)[group_of]

    def fetch(self, window: _Window, index: int, pieces: Sequence[Piece]) -> None:
        """Reads pieces of a window into memory, unless they are no longer wanted."""
        with self._changed:
            if self.is_closed:
                return
            window.num_running += 1
        error: OSError | None = None
        try:
            self._requests.read(pieces, window.clock)
        except OSError as reason:
            error = reason
        except Exception as reason:  # Of this package: it must not end in silence.
            error = OSError(f"fetching failed: {reason!r}")
        with self._changed:
            window.num_running -= 1
            window.pending[index] = False
            if error is not None:
                window.errors[index] = pieces[0], error
            self._free(window)
            self._changed.notify_all()
        del error

    def has_room(self) -> bool:
        """Returns whether less is in memory than there should be."""
        with self._changed:
            windows = list(self._windows.values())
        return sum(window.area.num_bytes for window in windows) < self._ahead_bytes

    def is_ready(self, places: Int64s) -> bool:
        """Returns whether records were fetched, or cannot be."""
        self._check_process()
        with self._changed:
            return self.is_closed or not any(
                window.pending[requests].any() and not window.errors
                for window, _, requests in self._needed(places)
            )

    def wait(self, places: Int64s) -> None:
        """Waits until records were fetched; as `Staging.wait`."""
        if self.is_ready(places) and not self._has_ended():
            return
        begun = time.perf_counter()
        try:
            with self._changed:
                if self.is_closed:
                    raise AbandonedError
                for window, records, requests in list(self._needed(places)):
                    self._wait_for(window, records, requests)
        finally:
            waits.note(time.perf_counter() - begun)

    def _wait_for(self, window: _Window, records: Int64s, requests: Int64s) -> None:
        while True:
            for index in np.intersect1d(requests, [*window.errors]).tolist():
                piece, error = window.errors[index]
                place = np.flatnonzero((requests == index).any(axis=0))[0]
                span = Span(self._files[piece.file].path, piece.begin, piece.end)
                raise self._explain(int(window.numbers[records[place]]), span, error)
            if not window.pending[requests].any():
                return
            if self.is_closed or threads().ended:
                raise AbandonedError
            self._changed.wait(_CHECK_SECONDS)

    def _has_ended(self) -> bool:
        with self._changed:
            failed = any(window.errors for window in self._windows.values())
            return failed or self.is_closed

    def done(self, places: Int64s) -> None:
        """Frees the memory of windows that are no longer read."""
        with self._changed:
            needed = () if self.is_closed else self._needed(places)
            for window, records, _ in needed:
                window.num_unread -= len(records)
                self._free(window)

    def close(self) -> None:
        """Frees all memory, as soon as no request writes to it; ends all waits."""
        if os.getpid() != self._process:
            return
        with self._changed:
            self.is_closed = True
            for window in list(self._windows.values()):
                window.num_unread = 0
                self._free(window)
            self._changed.notify_all()
        self._areas.trim()
        threads().run()

    def _free(self, window: _Window) -> None:
        is_kept = self._windows.get(window.area.offset) is window
        if is_kept and not window.num_unread and not window.num_running:
            del self._windows[window.area.offset]
            self._areas.give(window.area)

    def _needed(self, places: Int64s) -> Iterator[tuple[_Window, Int64s, Int64s]]:
        """Yields windows with their records among some places, and the requests."""
        begins = places[:, 2]
        offsets = sorted(self._windows)
        which = np.searchsorted(offsets, begins, side="right") - 1
        for n in np.unique(which).tolist():
            window = self._windows[offsets[n]]
            records = np.searchsorted(window.targets, begins[which == n])
            yield window, records, window.requests[:, records]

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                "an iterator over records in buckets cannot be continued in a forked "
                "process: start a new one there"
            )
