"""What `load` returns: a `tf.data.Dataset` of batches that knows where it stands."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import tensorflow as tf

from reader.contract.checks import whole_number
from reader.contract.errors import UsageError
from reader.loader.undecodable import find_undecodable
from reader.records.damaged_records import DamagedRecords, Loss
from reader.schedule.windows import Windows


class RunPosition(Protocol):
    """How far a run is at a step."""

    @property
    def begin_step(self) -> int:
        """The number of the first step."""

    @property
    def endless(self) -> bool:
        """Whether iterators have no end; then each begins anew."""

    def length(self, iterator: int = 0) -> int | None:
        """Returns how many batches an iterator has; None if it has no end."""

    def example_at(self, step: int) -> int:
        """Returns where the run stands before a step, in examples."""


# What TensorFlow's class keeps of a Dataset, beside what a subclass has of its own.
_OF_TENSORFLOW = ("_dataset", "_variant_tensor_attr", "_graph_attr", "_options_attr")


class Batches(tf.data.Dataset):
    """A `tf.data.Dataset` of batches.

    It is built when TensorFlow first asks for it, so that until then the accelerators
    can still be kept from TensorFlow: `reader.as_jax`, `reader.as_torch`.

    Attributes:
        position: How far a run is at a step.
        identity: All that decides its order.
        names: What a batch holds, if it is a dictionary.
    """

    def __init__(
        self,
        build: Callable[[], tf.data.Dataset],
        position: RunPosition,
        identity: Mapping[str, Any],
        windows: Windows,
        damaged: DamagedRecords,
        names: tuple[str, ...] | None,
    ) -> None:
        """Takes a function that makes a Dataset of the batches."""
        self._build = build
        self.names = names
        self._windows, self._damaged = windows, damaged
        self._taken: dict[int, int] = {}  # By iterator, as far as Python takes them.
        self.position, self.identity = position, identity

    def __getattr__(self, name: str) -> Any:
        """Builds the Dataset; called for what is not there yet."""
        if name not in _OF_TENSORFLOW:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        # Nothing of ours needs AutoGraph, which takes longer than all the rest.
        build = tf.autograph.experimental.do_not_convert(self._build)
        with tf.init_scope():  # It outlives a function that is being traced.
            self._dataset = build()
            super().__init__(self._dataset._variant_tensor)
        return self.__dict__[name]

    def then(self, function: Callable[..., Any]) -> "Batches":
        """Returns these batches, each as a function of TensorFlow's makes it."""

        def build() -> tf.data.Dataset:
            # Next to nothing to do, so one at a time: each more holds a whole batch.
            return self._dataset.map(function, num_parallel_calls=1)

        windows, damaged = self._windows, self._damaged
        made = Batches(build, self.position, self.identity, windows, damaged, None)
        made._taken = self._taken
        return made

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]

    def __iter__(self) -> Any:
        """Begins the next iterator: a `tf.data.Iterator`."""
        iterator = super().__iter__()
        # In place, since Keras and tf.function take TensorFlow's own class and no
        # wrapper of it.
        iterator.__class__ = _naming(type(iterator))  # type: ignore[arg-type]
        iterator.batches = self
        return iterator

    def note_taken(self, iterator: int, num: int) -> None:
        """Notes that so many more batches of an iterator were taken."""
        self._taken[iterator] = self._taken.get(iterator, 0) + num

    @property
    def latest(self) -> int:
        """The number of the latest iterator, from 0."""
        return self._windows.num_iterators - 1

    @property
    def error(self) -> Exception | None:
        """What of ours ended the reading, if something did."""
        return self._windows.error or self._damaged.error

    @property
    def element_spec(self) -> Any:
        """What a batch looks like."""
        return self._dataset.element_spec

    def __len__(self) -> int:
        """Returns how many batches the first iterator has."""
        length = self.position.length()
        if length is None:
            raise TypeError(
                "these batches have no end (epochs=None): reader.steps_per_epoch says "
                "how many make an epoch"
            )
        return length

    def explain(self, error: tf.errors.OpError) -> Exception | None:
        """Returns what of ours is behind an error of TensorFlow's, or None."""
        if self.error is not None:
            # A copy: the traceback of the one that is kept would hold the iterator and
            # its threads.
            return copy.copy(self.error)
        if not isinstance(error, tf.errors.InvalidArgumentError):
            return None
        num = tf.nest.flatten(self.element_spec)[0].shape[0]
        begin = self._taken.get(self.latest, 0) * num
        return find_undecodable(error, self._windows, self.latest, begin, num)

    def is_at(self, step: int) -> bool:
        """Tells whether a step can be where the latest iterator is.

        It cannot if one was left before its end. What goes unnoticed is one that Keras
        left when all of it had been read ahead, at the very end of the next.
        """
        if self.position.endless:
            return True
        ahead = step - self.position.begin_step
        iterator, begun = 0, self._windows.num_iterators
        while iterator < begun:
            length = self.position.length(iterator) or 0
            if ahead < length:
                break
            ahead, iterator = ahead - length, iterator + 1
        left = [
            before
            for before, taken in self._taken.items()
            if before < begun - 1 and taken < (self.position.length(before) or 0)
        ]
        return begun <= iterator + 1 and not left and not self._windows.left_early

    @property
    def losses(self) -> list[Loss]:
        """Records that were replaced so far, since they are damaged."""
        return [loss for _, loss in sorted(self._damaged.losses.items())]


@cache
def _naming(base: Any) -> Any:
    """Returns a subclass of an iterator that raises our own errors as they are."""

    class Iterator(base):
        batches: Batches | None = None

        def __next__(self) -> Any:
            try:
                batch = super().__next__()
            except tf.errors.OpError as error:
                told = None if self.batches is None else self.batches.explain(error)
                if told is None:
                    raise
                raise told from None
            if self.batches is not None:
                self.batches.note_taken(self.batches.latest, 1)
            return batch

    return Iterator


def state(batches: tf.data.Dataset, step: int) -> dict[str, Any]:
    """Returns where a run stands before a step, as a small value that JSON can hold.

    It is the same on every host. `reader.load(…, resume=state)` goes on from there,
    with another number of hosts or another batch size if need be.

    Args:
        batches: What `reader.load` returned.
        step: How many steps the run has taken: those before `batches` began (as its
            `start_step` or `resume` said), and the batches taken of it.

    Raises:
        UsageError: The step is before the beginning, or the batches are not those
            that were taken one after the other.
    """
    if not isinstance(batches, Batches):
        raise UsageError(
            "state needs what reader.load returned, got "
            f"{type(batches).__name__}: keep that beside what you make of it"
        )
    position, step = batches.position, whole_number("step", step)
    if step < position.begin_step:
        raise UsageError(
            f"step must be at least {position.begin_step}, where these batches begin, "
            f"got {step}"
        )
    if not batches.is_at(step):
        raise UsageError(
            f"where step {step} is cannot be told: an iterator over these batches was "
            "left before its end and another one begun, as by next(iter(batches)), or "
            "by Keras under a strategy, which looks at a batch before it trains. Load "
            "with epochs=None, where every iterator begins at the same step, or "
            "iterate once"
        )
    return {**batches.identity, "step": step, "examples": position.example_at(step)}
