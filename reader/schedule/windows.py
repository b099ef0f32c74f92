"""Yields the windows of a host with the reads for each window."""

import copy
from collections.abc import Iterator
from typing import Any, Protocol

from reader.contract.errors import DatasetError
from reader.datasets.record_index import Reads, RecordIndex
from reader.shuffle.order import NO_RECORD, Share, Stretch, Window
from reader.shuffle.randomness import Draws


class Order(Protocol):
    """Order of records."""

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""


class EpochStretches(Protocol):
    """Stretches of the order that each iterator reads."""

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields the stretches of an iterator; `iterator` counts from 0."""


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
        *,
        whole: bool,
        at_end: Any,
    ) -> None:
        """Creates the windows of a host.

        Args:
            order: Order of the records.
            run: Stretches of the order that each iterator reads.
            share: Share of this host in each step.
            index: Index of the records' files and byte offsets.
            draws: Random numbers of each record, such as for crops.
            whole: Whether to read whole windows even if only a part is kept, because
                the window is sorted first.
            at_end: Function called with the epoch at the end of each epoch.
        """
        self.index, self.draws = index, draws
        self.left_early = False
        self.error: DatasetError | OSError | None = None
        self.num_iterators = self._num_ended = 0
        self._order, self._run, self._share = order, run, share
        self.sorted, self._at_end = whole, at_end

    def __call__(self) -> Iterator[tuple[Any, ...]]:
        """Starts the next iterator."""
        self.left_early |= self._num_ended < self.num_iterators
        stretches = self._run.stretches(self.num_iterators)
        self.num_iterators += 1
        return self._windows(stretches)

    def _windows(self, stretches: Iterator[Stretch]) -> Iterator[tuple[Any, ...]]:
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
            reads = self._reads(window)
            yield (
                reads.pieces,
                reads.numbers,
                reads.lengths,
                reads.order,
                window.numbers == NO_RECORD,
                self.draws.of(window.numbers, window.epochs),
                window.columns,
                window.number % 2 == 1,
                window.keep,
            )
            if part is None or part[0] != epoch:
                self._at_end(epoch)

    def _reads(self, window: Window) -> Reads:
        try:
            return self.index.reads(window.numbers)
        except (DatasetError, OSError) as error:
            # TensorFlow raises its own error, which keeps only the text of this one.
            self.error = copy.copy(error)
            raise

    def of_iterator(self, iterator: int) -> Iterator[Window]:
        """Yields the windows of an iterator without starting it; counts from 0."""
        for stretch in self._run.stretches(iterator):
            yield from self.of(stretch)

    def of(self, stretch: Stretch) -> Iterator[Window]:
        """Yields this host's windows of a stretch."""
        for window in self._order.windows(stretch, self._share):
            yield window if self.sorted else window.cut()
