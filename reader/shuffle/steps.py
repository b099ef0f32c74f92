"""From steps to places in the order and back: arithmetic, and nothing else.

Epochs lie one after the other on an endless line of *examples*, N for each epoch,
whether or not its last batch is dropped. Where a run stands is one whole number.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from reader.contract.errors import UsageError
from reader.shuffle.order import Stretch

_ENDLESS_STEPS = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The batches of a run.

    Attributes:
        num_examples: Of an epoch.
        batch_size: Examples per step, over all hosts.
        pad: Whether an epoch's last batch is filled up; it is dropped otherwise.
        epochs: In an iterator; None for endless ones.
        begin: Where the first iterator begins, in examples.
        begin_step: The number of its first step.

    Raises:
        UsageError: It begins behind its end.
    """

    num_examples: int
    batch_size: int
    pad: bool = False
    epochs: int | None = 1
    begin: int = 0
    begin_step: int = 0

    def __post_init__(self) -> None:
        """Checks that it does not begin behind its end."""
        # With one epoch, each iterator is the next epoch, and there is no end.
        if self.epochs in (None, 1) or self.begin <= self.epochs * self.num_examples:
            return
        raise UsageError(
            f"the run would begin at example {self.begin}, but epochs={self.epochs} "
            f"ends at {self.epochs * self.num_examples} ({self.epochs} epochs of "
            f"{self.per_epoch} steps): raise epochs"
        )

    @property
    def endless(self) -> bool:
        """Whether iterators have no end; then each begins anew."""
        return self.epochs is None

    @property
    def per_epoch(self) -> int:
        """Steps of a whole epoch."""
        return self._steps_in(self.num_examples)

    def _steps_in(self, num_examples: int) -> int:
        more = self.batch_size - 1 if self.pad else 0
        return (num_examples + more) // self.batch_size

    @property
    def _first(self) -> Stretch:
        """What is left of the epoch that the first iterator begins in."""
        epoch, start = divmod(self.begin, self.num_examples)
        steps = self._steps_in(self.num_examples - start)
        return Stretch(epoch, start, start + steps * self.batch_size)

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields what an iterator goes through; they are counted from 0.

        The n-th has the n-th so many epochs; the first begins at `begin`. Endless ones
        all begin there.
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
        """Returns how many batches an iterator has; None if it has no end."""
        if self.epochs is None:
            return None
        stretches = self.stretches(iterator)
        return sum((part.stop - part.start) // self.batch_size for part in stretches)

    def example_at(self, step: int) -> int:
        """Returns where the run stands before a step, in examples."""
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
        begin: Where every iterator begins, in examples.
        begin_step: The number of its first step.
    """

    batch_size: int
    begin: int = 0
    begin_step: int = 0
    endless: bool = True

    def stretches(self, iterator: int) -> Iterator[Stretch]:
        """Yields the one stretch there is, which no run gets to the end of."""
        yield Stretch(0, self.begin, self.begin + _ENDLESS_STEPS * self.batch_size)

    def length(self, iterator: int = 0) -> None:
        """Returns None: it has no end."""

    def example_at(self, step: int) -> int:
        """Returns where the run stands before a step, in examples."""
        return self.begin + (step - self.begin_step) * self.batch_size
