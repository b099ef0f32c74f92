"""A host's windows, with what to read for each: the plan, carried out step by step."""

import copy
from collections.abc import Iterator
from typing import Any, Protocol

from reader.contract.errors import DatasetError
from reader.datasets.record_index import Reads, RecordIndex
from reader.shuffle.order import NO_RECORD, Share, Stretch, Window
from reader.shuffle.randomness import Draws


class Order(Protocol):
    """What an order of records can do."""

    def windows(self, stretch: Stretch, share: Share) -> Iterator[Window]:
        """Yields a host's records of a stretch, window by window."""


class EpochStretches(Protocol):
    """Which stretches an iterator goes through."""

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields the stretches of one iterator; they are counted from 0."""


class Windows:
    """What a host reads, each time it is called for the next iterator.

    Attributes:
        index: Where the records lie.
        draws: What is left to chance about each record.
        sorted: Whether a window's records are brought in another order than its own.
        num_iterators: Begun so far.
        left_early: Whether one was begun before all of the one before it was read.
        error: What ended the reading, if something did.
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
        """Takes the plan.

        Args:
            order: Of the records.
            run: How much of it.
            share: Of this host.
            index: Where the records lie.
            draws: What is left to chance about each record.
            whole: Whether a window's records are read even if not all are meant, since
                it will be sorted.
            at_end: Called with the epoch at the end of each.
        """
        self.index, self.draws = index, draws
        self.left_early = False
        self.error: DatasetError | OSError | None = None
        self.num_iterators = self._num_ended = 0
        self._order, self._run, self._share = order, run, share
        self.sorted, self._at_end = whole, at_end

    def __call__(self) -> Iterator[tuple[Any, ...]]:
        """Begins the next iterator."""
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
            # TensorFlow passes on its text, in one of its own errors.
            self.error = copy.copy(error)
            raise

    def of_iterator(self, iterator: int) -> Iterator[Window]:
        """Yields what an iterator reads, without beginning it; they count from 0."""
        for stretch in self._run.stretches(iterator):
            yield from self.of(stretch)

    def of(self, stretch: Stretch) -> Iterator[Window]:
        """Yields this host's windows of a stretch."""
        for window in self._order.windows(stretch, self._share):
            yield window if self.sorted else window.cut()
