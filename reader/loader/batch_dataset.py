"""Defines the `tf.data.Dataset` that `load` returns, which tracks its position."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import tensorflow as tf

from reader.contract.checks import whole_number
from reader.contract.errors import UsageError
from reader.loader.forked import check_not_forked, note_iterator
from reader.loader.undecodable import find_undecodable
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.engine import PixelEngine
from reader.records.damaged_records import DamagedRecords, Loss
from reader.records.python_calls import ending
from reader.schedule.windows import Windows


class RunPosition(Protocol):
    """Position of a run at each step."""

    @property
    def begin_step(self) -> int:
        """Index of the first step."""

    @property
    def endless(self) -> bool:
        """Whether iterators are endless; each one then begins at `begin_step`."""

    def length(self, iterator: int = 0) -> int | None:
        """Returns the number of batches of an iterator; None if it is endless."""

    def example_at(self, step: int) -> int:
        """Returns the position of the run before a step, in examples."""


# Private names of TensorFlow are used in this file only, as this version has them;
# tests/reader/loader/test_batch_dataset.py shows what an upgrade has moved.
TENSORFLOW_VERSION = "2.21"

# Attributes that the constructor of TensorFlow's Dataset sets.
_TENSORFLOW_ATTRIBUTES = (
    "_dataset",
    "_variant_tensor_attr",
    "_graph_attr",
    "_options_attr",
)


class Batches(tf.data.Dataset):
    """A `tf.data.Dataset` of batches.

    The Dataset is built when TensorFlow first accesses it. Until then, `reader.as_jax`
    and `reader.as_torch` can still keep TensorFlow from allocating the accelerators.

    Attributes:
        position: Position of the run at each step.
        identity: Settings and records that determine the order of the run, as JSON
            values.
        names: Names of the outputs if a batch is a dictionary; None otherwise.
    """

    def __init__(
        self,
        build: Callable[[], tf.data.Dataset],
        position: RunPosition,
        identity: Mapping[str, Any],
        windows: Windows,
        damaged: DamagedRecords,
        names: tuple[str, ...] | None,
        *,
        workers: PixelWorkers[PixelEngine] | None = None,
    ) -> None:
        """Stores how to build the Dataset; nothing is built yet.

        Args:
            build: Function that builds the Dataset of batches.
            position: Position of the run at each step.
            identity: Settings and records that determine the order of the run.
            windows: Windows of records that this host reads.
            damaged: Reader of damaged records, with the losses so far.
            names: Names of the outputs if a batch is a dictionary; None otherwise.
            workers: Workers that make the images, which live as long as the Dataset;
                None without images.
        """
        self._build = build
        self._workers = workers
        self.names = names
        self._windows, self._damaged = windows, damaged
        # Batches taken by Python, by iterator index.
        self._taken: dict[int, int] = {}
        self.position, self.identity = position, identity

    def __getattr__(self, name: str) -> Any:
        """Builds the Dataset when one of TensorFlow's attributes is first accessed."""
        if name not in _TENSORFLOW_ATTRIBUTES:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        # The functions of this package do not need AutoGraph, and converting them takes
        # longer than all other steps of building.
        build = tf.autograph.experimental.do_not_convert(self._build)
        with tf.init_scope():  # The Dataset outlives a function that is being traced.
            self._dataset = build()
            super().__init__(self._dataset._variant_tensor)
        return self.__dict__[name]

    def then(self, function: Callable[..., Any]) -> "Batches":
        """Returns these batches, transformed by a TensorFlow function.

        Args:
            function: Function from a batch to the transformed batch, as in `map`.
        """

        def build() -> tf.data.Dataset:
            # One call at a time: the function is fast, and each parallel call would
            # hold a whole batch in memory.
            return self._dataset.map(function, num_parallel_calls=1)

        windows, damaged = self._windows, self._damaged
        batches = Batches(
            build,
            self.position,
            self.identity,
            windows,
            damaged,
            None,
            workers=self._workers,
        )
        batches._taken = self._taken
        return batches

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]

    def __iter__(self) -> Any:
        """Starts and returns the next iterator, a `tf.data.Iterator`."""
        check_not_forked()
        iterator = super().__iter__()
        note_iterator(iterator._iterator_resource)
        # The class is replaced in place, since Keras and tf.function accept iterators
        # of TensorFlow but no wrapper.
        iterator.__class__ = _explaining(type(iterator))  # type: ignore[arg-type]
        iterator.batches = self
        return iterator

    def note_taken(self, iterator: int, num: int) -> None:
        """Adds to the number of batches taken from an iterator.

        Args:
            iterator: Index of the iterator, from 0.
            num: Number of batches to add; may be negative.
        """
        self._taken[iterator] = self._taken.get(iterator, 0) + num

    @property
    def latest(self) -> int:
        """Index of the latest iterator, from 0; -1 before the first."""
        return self._windows.num_iterators - 1

    @property
    def error(self) -> Exception | None:
        """The error of this package that ended reading, or None."""
        workers = None if self._workers is None else self._workers.error
        return self._windows.error or self._damaged.error or workers

    @property
    def element_spec(self) -> Any:
        """Shapes and dtypes of a batch, as a structure of `tf.TensorSpec`."""
        return self._dataset.element_spec

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator."""
        length = self.position.length()
        if length is None:
            raise TypeError(
                "endless batches have no length (epochs=None): reader.steps_per_epoch "
                "returns the number of batches per epoch"
            )
        return length

    def explain(self, error: tf.errors.OpError) -> Exception | None:
        """Returns the DatasetError or OSError behind a TensorFlow error, or None.

        Args:
            error: Error that TensorFlow raised for the latest iterator.
        """
        if self.error is not None:
            # A copy, since the traceback of the stored error would keep the iterator
            # and its threads alive.
            return copy.copy(self.error)
        if not isinstance(error, tf.errors.InvalidArgumentError):
            return None
        num = tf.nest.flatten(self.element_spec)[0].shape[0]
        begin = self._taken.get(self.latest, 0) * num
        engine = None if self._workers is None else self._workers.engine
        return find_undecodable(error, self._windows, engine, self.latest, begin, num)

    def is_at(self, step: int) -> bool:
        """Returns whether the latest iterator can be at a step.

        Returns False if an earlier iterator was left before its end. One case is not
        detected: Keras left an iterator that had been read ahead to its end, and the
        step is the last one of the next iterator.

        Args:
            step: Number of steps that the run has taken.
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
        """Damaged records that were replaced so far, ordered by record number."""
        return [loss for _, loss in sorted(self._damaged.losses.items())]


@cache
def _explaining(base: Any) -> Any:
    """Returns a subclass of an iterator class that raises the errors of this package.

    TensorFlow would wrap them in its own errors.
    """

    class Iterator(base):
        batches: Batches | None = None

        def __next__(self) -> Any:
            check_not_forked()
            try:
                batch = super().__next__()
            except (tf.errors.OpError, StopIteration) as error:
                if ending():
                    raise SystemExit from None  # Ends a thread without a word.
                if isinstance(error, StopIteration):
                    raise
                cause = None if self.batches is None else self.batches.explain(error)
                if cause is None:
                    raise
                try:
                    raise cause from None
                finally:
                    # The cause's traceback would keep this frame, and this frame the
                    # cause: the iterator would last until the next garbage collection.
                    del cause
            if self.batches is not None:
                self.batches.note_taken(self.batches.latest, 1)
            return batch

    return Iterator


def state(batches: tf.data.Dataset, step: int) -> dict[str, Any]:
    """Returns a checkpoint of the input pipeline, as a small JSON-serializable dict.

    The state is the same on every host. `reader.load(…, resume=state)` resumes from it,
    if needed with another number of hosts or another batch size.

        state = reader.state(batches, step)
        checkpoint.write_text(json.dumps(state))

    Args:
        batches: The Dataset that `reader.load` returned, or `reader.for_captioning` or
            `reader.for_retrieval` made of it.
        step: Number of steps that the run has taken, which is the trainer's global
            step. It includes the steps before `start_step` or `resume`.

    Returns:
        A dictionary with the step, the position in examples, and the settings that
        determine the order.

    Raises:
        UsageError: `batches` is another Dataset, `step` is before the first step of
            `batches`, or an iterator over `batches` was left before its end.
    """
    if not isinstance(batches, Batches):
        raise UsageError(
            "state needs the batches that reader.load returned, got "
            f"{type(batches).__name__}: keep those as well as what you derive from them"
        )
    position, step = batches.position, whole_number("step", step)
    if step < position.begin_step:
        raise UsageError(
            f"step must be at least {position.begin_step}, the first step of these "
            f"batches, got {step}"
        )
    if not batches.is_at(step):
        raise UsageError(
            f"the position of step {step} is unknown: an iterator over these batches "
            "was left before its end and another one was started, for example by "
            "next(iter(batches)), or by Keras under a tf.distribute strategy, which "
            "takes a batch before training. Load with epochs=None, where every "
            "iterator begins at the same step, or iterate only once"
        )
    return {**batches.identity, "step": step, "examples": position.example_at(step)}
