"""Converts steps of a run to positions in the order.

Epochs follow one another on an endless line of examples. Each epoch takes N examples of
this line, whether or not its last batch is dropped. So the position of a run is one
whole number, in examples.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from reader.contract.errors import UsageError
from reader.shuffle.shares import Stretch

_ENDLESS_STEPS = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The batches of a run.

    Attributes:
        num_examples: Number of examples in an epoch.
        batch_size: Examples per step, over all hosts.
        pad: Whether an epoch's incomplete last batch is padded; otherwise it is
            dropped.
        epochs: Number of epochs per iterator; None for endless iterators.
        begin: Position at which the first iterator begins, in examples.
        begin_step: Number of the first iterator's first step.

    Raises:
        UsageError: The run begins after its end.
    """

    num_examples: int
    batch_size: int
    pad: bool = False
    epochs: int | None = 1
    begin: int = 0
    begin_step: int = 0

    def __post_init__(self) -> None:
        """Checks that the run does not begin after its end."""
        # With one epoch per iterator, each iterator is the next epoch, without an end.
        if self.epochs in (None, 1) or self.begin <= self.epochs * self.num_examples:
            return
        raise UsageError(
            f"the run would begin at example {self.begin}, but epochs={self.epochs} "
            f"ends at {self.epochs * self.num_examples} ({self.epochs} epochs of "
            f"{self.per_epoch} steps): increase epochs"
        )

    @property
    def endless(self) -> bool:
        """Whether iterators are endless; then each one begins at `begin`."""
        return self.epochs is None

    @property
    def per_epoch(self) -> int:
        """Number of steps in a whole epoch."""
        return self._steps_in(self.num_examples)

    def _steps_in(self, num_examples: int) -> int:
        more = self.batch_size - 1 if self.pad else 0
        return (num_examples + more) // self.batch_size

    @property
    def _first(self) -> Stretch:
        """Rest of the epoch in which the first iterator begins."""
        epoch, start = divmod(self.begin, self.num_examples)
        steps = self._steps_in(self.num_examples - start)
        return Stretch(epoch, start, start + steps * self.batch_size)

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields the stretches that an iterator reads; iterators are counted from 0.

        Each iterator reads the `epochs` epochs after those of the previous iterator.
        The first iterator begins at `begin`. Endless iterators all begin at `begin`.
        """
        first = self._first
        if self.epochs is None:
            epochs: Iterator[int] = itertools.count(first.epoch)
        else:
            before = first.epoch if self.epochs == 1 else 0
            begin = (before + iterator) * self.epochs
            epochs = iter(range(begin, begin + self.epochs))
        begun = iterator > 0 and self.epochs is not None
        for epoch in epochs:
            if begun or epoch > first.epoch:
                yield Stretch(epoch, 0, self.per_epoch * self.batch_size)
            elif epoch == first.epoch:
                yield first

    def length(self, iterator: int = 0) -> int | None:
        """Returns the number of batches of an iterator; None if it is endless."""
        if self.epochs is None:
            return None
        stretches = self.stretches(iterator)
        return sum((part.stop - part.start) // self.batch_size for part in stretches)

    def example_at(self, step: int) -> int:
        """Returns the position of the run before a step, in examples."""
        ahead, first = step - self.begin_step, self._first
        left = (first.stop - first.start) // self.batch_size
        if ahead < left:
            return self.begin + ahead * self.batch_size
        epochs, steps = divmod(ahead - left, self.per_epoch)
        epoch = first.epoch + 1 + epochs
        return epoch * self.num_examples + steps * self.batch_size


@dataclass(frozen=True, kw_only=True)
class EndlessSteps:
    """The batches of a run without epochs.

    Attributes:
        batch_size: Examples per step, over all hosts.
        begin: Position at which every iterator begins, in examples.
        begin_step: Number of an iterator's first step.
        endless: Whether iterators are endless; always True.
    """

    batch_size: int
    begin: int = 0
    begin_step: int = 0
    endless: bool = True

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields one stretch, too long for any run to reach its end."""
        yield Stretch(0, self.begin, self.begin + _ENDLESS_STEPS * self.batch_size)

    def length(self, iterator: int = 0) -> None:
        """Returns None: an iterator is endless."""

    def example_at(self, step: int) -> int:
        """Returns the position of the run before a step, in examples."""
        return self.begin + (step - self.begin_step) * self.batch_size
