"""Defines the `tf.data.Dataset` that `load` returns, which tracks its position."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import tensorflow as tf

from reader.decode.missing_captions import MissingCaptions
from reader.loader.forked import check_not_forked, note_iterator
from reader.loader.undecodable import find_undecodable
from reader.object_stores.request_threads import wait_for
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.engine import PixelEngine
from reader.records.damaged_records import DamagedRecords, Loss
from reader.records.python_calls import ending
from reader.schedule.resumable import Resumable, RunPosition
from reader.schedule.windows import Windows
from reader.storage.files import is_remote

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


class Batches(Resumable, tf.data.Dataset):
    """A `tf.data.Dataset` of batches.

    The Dataset is built when TensorFlow first accesses it. Until then, `reader.as_jax`
    and `reader.as_torch` can still keep TensorFlow from allocating the accelerators.

    Attributes:
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
        missing: MissingCaptions,
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
            missing: Counts of captions that examples lack.
        """
        self._build = build
        self._workers, self._missing = workers, missing
        self.names = names
        self._damaged = damaged
        self._set_run(position, identity, windows)
        files = windows.index.files
        self._is_fetched = any(is_remote(file.path) for file in files)

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
            missing=self._missing,
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

    def wait_for(self, get: Callable[[], Any]) -> Any:
        """Returns what a function of TensorFlow returns; Ctrl-C ends the wait.

        Python handles a signal in its main thread, when a call of TensorFlow returns
        there. A store that does not answer keeps it for minutes.

        Args:
            get: Function that returns a batch.
        """
        if not self._is_fetched or not tf.executing_eagerly():
            return get()
        try:
            return wait_for(get)
        except KeyboardInterrupt:
            # TensorFlow would wait for the records when the iterator is deleted.
            self._windows.abandon()
            raise

    @property
    def error(self) -> Exception | None:
        """The error of this package that ended reading, or None."""
        workers = None if self._workers is None else self._workers.error
        return self._windows.error or self._damaged.error or workers

    @property
    def element_spec(self) -> Any:
        """Shapes and dtypes of a batch, as a structure of `tf.TensorSpec`."""
        return self._dataset.element_spec

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

    @property
    def missing_captions(self) -> dict[str, int]:
        """Number of examples so far that lack each name in `caption`.

        They are those of batches that were made for this host, some of which may be
        waiting to be taken. The key `*` counts examples that lack all of the names,
        whose captions are empty.
        """
        return self._missing.counts

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
                get = super().__next__
                batch = get() if self.batches is None else self.batches.wait_for(get)
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
