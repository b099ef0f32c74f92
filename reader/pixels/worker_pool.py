"""Batches of pixels made by worker processes: START HERE for the processes."""

import math
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reader.pixels.errors import PixelWorkerError
from reader.pixels.parts import (
    Engine,
    Int32s,
    Part,
    check,
    make_rows,
    part_bounds,
    write_input,
)
from reader.pixels.processes import CLOSED, Processes
from reader.pixels.shared_memory import Area, Areas, SharedMemory
from reader.shuffle.arrays import Float64s

E = TypeVar("E", bound=Engine)


class PixelWorkers(Generic[E]):
    """Worker processes that make the pixels of batches in shared memory.

    Threads may share an instance. The processes start at the first batch. They end with
    `close`, with the last reference to the instance, and with this process, however it
    ends. After a fork, the child starts processes of its own.

    Attributes:
        engine: Engine that makes the images.
        error: The error of the last batch that could not be made, if workers ended or
            failed; otherwise None.
    """

    def __init__(self, engine: E, num_workers: int, *, held: int = 4) -> None:
        """Initializes the workers.

        Args:
            engine: Engine that makes the images.
            num_workers: Number of processes. With 0, this process makes the images.
            held: Number of batches that the caller may keep without a copy.
        """
        self.engine = engine
        self.error: PixelWorkerError | None = None
        self._num_workers = num_workers
        self._most_held = held
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._closed = False

    def make(
        self, encoded: Sequence[bytes], sizes: Int32s | None, draws: Float64s
    ) -> NDArray[Any]:
        """Makes the images of a batch.

        Args:
            encoded: Encoded images, n in number.
            sizes: int32[n, 2]: Height and width of each image, if known.
            draws: float64[n, k]: Random numbers in [0, 1).

        Returns:
            `engine.dtype[n, *engine.row_shape]`, aligned to 64 bytes. Its memory is
            used again when the last view of it is gone. A caller that keeps more than
            `held` batches gets copies.

        Raises:
            PixelsError: An image is damaged.
            PixelWorkerError: A worker ended or failed, or `close` was called.
        """
        if not len(encoded):
            return np.empty((0, *self.engine.row_shape), self.engine.dtype)
        session = self._session or self._started()
        try:
            return session.make(encoded, sizes, draws)
        except (KeyboardInterrupt, SystemExit):
            # The workers may still write to the memory of the batch.
            self._end_session()
            raise
        except PixelWorkerError as error:
            self.error = error
            raise

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the worker processes have used to make images."""
        session = self._session
        return 0.0 if session is None else session.cpu_seconds

    def close(self) -> None:
        """Ends the processes. Arrays that were returned stay valid."""
        self._closed = True
        self._end_session()

    def _started(self) -> "_Session":
        with self._lock:
            if self._closed:
                raise PixelWorkerError(CLOSED)
            if self._session is None:
                with _no_fork:
                    session = _Session(self.engine, self._num_workers, self._most_held)
                    self._session = session
                    self._finalizer = weakref.finalize(self, session.stop)
                    _started.add(self)
            return self._session

    def _end_session(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session = None
                self._finalizer()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        if self._session is not None:
            self._finalizer.detach()
            self._session.forget()
            self._session = None


class _Session:
    """Shared memory and processes, from their start to their end."""

    def __init__(self, engine: Engine, num_workers: int, most_held: int) -> None:
        self._engine = engine
        self._num_workers = num_workers
        self._most_held = most_held
        self._row_bytes = math.prod(engine.row_shape) * np.dtype(engine.dtype).itemsize
        self._memory = SharedMemory()
        self._processes = None
        if num_workers:
            self._processes = Processes(engine, num_workers, self._memory)
            _sessions.add(self)
        lock = threading.Lock()
        self._inputs = Areas(self._memory, lock)
        self._outputs = Areas(self._memory, lock)
        self._kept: set[Area] = set()

    def make(
        self, encoded: Sequence[bytes], sizes: Int32s | None, draws: Float64s
    ) -> NDArray[Any]:
        output = self._outputs.take(len(encoded) * self._row_bytes)
        try:
            self._fill(output, encoded, sizes, draws)
            shape = (len(encoded), *self._engine.row_shape)
            rows = self._memory.array(output.offset, shape, self._engine.dtype)
            if len(self._kept) >= self._most_held:
                rows = _copy(rows)
                self._outputs.give(output)
                return rows
        except Exception:
            self._outputs.give(output)
            raise
        self._kept.add(output)
        weakref.finalize(
            rows, _give_back, self._outputs, self._kept, output
        ).atexit = False
        return rows

    def _fill(
        self,
        output: Area,
        encoded: Sequence[bytes],
        sizes: Int32s | None,
        draws: Float64s,
    ) -> None:
        n, k = draws.shape
        area = write_input(self._memory, self._inputs, encoded, sizes, draws)
        whole = Part(0, 0, *area, output.offset, n, k, int(sizes is not None), 0, n)
        try:
            if self._processes is None:
                make_rows(self._engine, self._memory, whole)
                return
            self._processes.run(
                [
                    whole._replace(number=i, begin=begin, end=end)
                    for i, (begin, end) in enumerate(part_bounds(n, self._num_workers))
                ]
            )
            check(self._memory, whole)
        finally:
            # Workers that have not ended yet may still read the input.
            if self._processes is None or not self._processes.ended:
                self._inputs.give(area)

    @property
    def cpu_seconds(self) -> float:
        return 0.0 if self._processes is None else self._processes.cpu_seconds

    def stop(self) -> None:
        if self._processes is not None:
            self._processes.stop()
            _sessions.discard(self)

    def forget(self) -> None:
        if self._processes is not None:
            self._processes.forget()


def _give_back(outputs: Areas, kept: set[Area], area: Area) -> None:
    kept.discard(area)
    outputs.give(area)


def _copy(rows: NDArray[Any]) -> NDArray[Any]:
    """Copies an array to memory of its own, at the start of a page."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    buffer = mmap.mmap(-1, rows.nbytes, flags=flags)
    copy: NDArray[Any] = np.ndarray(rows.shape, rows.dtype, buffer)
    copy[...] = rows
    return copy


# Held while processes start, when a forked child would get both ends of their sockets.
_no_fork = threading.RLock()
_started: "weakref.WeakSet[PixelWorkers[Any]]" = weakref.WeakSet()
# Those with processes that have not ended yet.
_sessions: set[_Session] = set()


def _stop_all() -> None:
    for session in list(_sessions):
        session.stop()


# At the end of Python only: threads that were ending processes do not get to it.
weakref.finalize(PixelWorkers, _stop_all)


def cpu_seconds_of_workers() -> float:
    """Returns the CPU time that all workers of this process have used."""
    return sum(workers.cpu_seconds for workers in list(_started))


def _after_fork_in_child() -> None:
    _no_fork.release()
    for workers in list(_started):
        workers._forget()
    _sessions.clear()


os.register_at_fork(
    before=_no_fork.acquire,
    after_in_parent=_no_fork.release,
    after_in_child=_after_fork_in_child,
)
