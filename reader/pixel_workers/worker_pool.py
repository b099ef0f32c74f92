"""Batches of pixels made by worker processes: START HERE for the processes."""

import contextlib
import copy
import dataclasses
import math
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reader.pixel_workers.parts import (
    Engine,
    Int32s,
    Makers,
    Part,
    RecordMaker,
    check,
    make_rows,
    part_bounds,
    rests_of,
    write_encoded,
    write_places,
)
from reader.pixel_workers.processes import CLOSED, Making, Processes
from reader.pixel_workers.shared_memory import Area, Areas, SharedMemory
from reader.pixels.errors import PixelWorkerError
from reader.shuffle.arrays import Float64s, Int64s

# Space for a record without its image, in bytes. It grows if a record needs more.
_ROOM = 2048

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

    def __init__(
        self,
        engine: E,
        num_workers: int,
        *,
        held: int = 4,
        records: RecordMaker | None = None,
    ) -> None:
        """Initializes the workers.

        Args:
            engine: Engine that makes the images.
            num_workers: Number of processes. With 0, this process makes the images.
            held: Number of batches that the caller may keep without a copy.
            records: Reads records from files, for `read`.
        """
        self.engine = engine
        self.error: PixelWorkerError | None = None
        self._makers = Makers(engine, records)
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
        with self._session_in_use() as session:
            return session.finish(session.start(encoded, sizes, draws))

    def read(self, places: Int64s, draws: Float64s) -> tuple[NDArray[Any], list[Any]]:
        """Reads the records of a batch from files, and makes their images.

        Args:
            places: int64[n, 3]: Shard of each record, and the byte offsets of its begin
                and end, framing included; n is not 0.
            draws: float64[n, k]: Random numbers in [0, 1).

        Returns:
            The images, as of `make`; and for each part of the batch, in order, what
            `records` returned of its records.

        Raises:
            PixelWorkerError: A worker ended or failed, or `close` was called.
        """
        return self.start_read(places, draws, wait=True)()

    def start_read(
        self, places: Int64s, draws: Float64s, *, wait: bool = False
    ) -> Callable[[], tuple[NDArray[Any], list[Any]]]:
        """Has a batch read, and returns a function that waits for it; as `read`.

        The function has to be called once. If the workers have `NUM_CHANNELS` batches
        already, it reads the batch in this process, since the caller may be who keeps
        these waiting. With `wait`, this call waits for one of them instead.
        """
        with self._session_in_use() as session:
            started = session.start_read(places, draws, wait=wait)

        def finish() -> tuple[NDArray[Any], list[Any]]:
            with self._session_in_use(session):
                found = session.finish_read(started)
            return self.read(places, draws) if found is None else found

        return finish

    @contextlib.contextmanager
    def _session_in_use(
        self, session: "_Session | None" = None
    ) -> Iterator["_Session"]:
        try:
            yield session or self._session or self._started()
        except (KeyboardInterrupt, SystemExit):
            # The workers may still write to the memory of the batch.
            self._end_session()
            raise
        except PixelWorkerError as error:
            # A copy, since the traceback would keep the workers alive.
            self.error = copy.copy(error)
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
                with _no_fork, _streams_taken():
                    session = _Session(self._makers, self._num_workers, self._most_held)
                    self._session = session
                    self._finalizer = weakref.finalize(self, session.stop)
                    _started.add(self)
            return self._session

    def _end_session(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                self._finalizer()
                session.wait()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        if self._session is not None:
            self._finalizer.detach()
            self._session.forget()
            self._session = None


class _Session:
    """Shared memory and processes, from their start to their end."""

    def __init__(self, makers: Makers, num_workers: int, most_held: int) -> None:
        self._makers, engine = makers, makers.engine
        self._num_workers = num_workers
        self._most_held = most_held
        self._row_bytes = math.prod(engine.row_shape) * np.dtype(engine.dtype).itemsize
        self._room = _ROOM
        self._memory = SharedMemory()
        self._processes = None
        if num_workers:
            self._processes = Processes(makers, num_workers, self._memory)
        lock = threading.Lock()
        self._inputs = Areas(self._memory, lock)
        self._outputs = Areas(self._memory, lock)
        self._kept: dict[int, _Lease] = {}
        self._gone: deque[_Lease] = deque()

    def start(
        self, encoded: Sequence[bytes], sizes: Int32s | None, draws: Float64s
    ) -> "_Started":
        batch = write_encoded(self._memory, self._inputs, encoded, sizes, draws)
        return self._start(batch, wait=True)

    def start_read(self, places: Int64s, draws: Float64s, *, wait: bool) -> "_Started":
        batch = write_places(self._memory, self._inputs, places, draws, self._room)
        return self._start(batch, wait=wait)

    def _start(self, batch: Part, *, wait: bool) -> "_Started":
        self._take_back()
        output = self._outputs.take(batch.num_rows * self._row_bytes)
        batch = batch._replace(rows_offset=output.offset)
        started = _Started(batch, [batch], output, self._room)
        if self._processes is None:
            return started
        bounds = part_bounds(batch.num_rows, self._num_workers)
        parts = [
            batch._replace(number=i, begin=begin, end=end)
            for i, (begin, end) in enumerate(bounds)
        ]
        with self._given_back(started, only_after_errors=True):
            started.making = self._processes.start(parts, wait=wait)
        if started.making is not None:
            started.parts = parts
        return started

    def finish(self, started: "_Started") -> NDArray[Any]:
        """Returns the rows of a batch that was started."""
        with self._given_back(started):
            self._wait(started)
            return self._rows(started)

    def finish_read(self, started: "_Started") -> tuple[NDArray[Any], list[Any]] | None:
        """Returns the rows and the rests; None if these need more room."""
        with self._given_back(started):
            self._wait(started)
            rests = rests_of(self._memory, started.parts)
            if rests is not None:
                return self._rows(started), rests
            self._outputs.give(started.output)
        self._room = max(self._room, 4 * started.room)
        return None

    @contextlib.contextmanager
    def _given_back(
        self, started: "_Started", *, only_after_errors: bool = False
    ) -> Iterator[None]:
        """Gives the memory of a batch's input back, after errors also its output."""
        try:
            yield
        except Exception:
            self._outputs.give(started.output)
            only_after_errors = False
            raise
        finally:
            # Workers that have not ended yet may still read the input.
            ended = self._processes is not None and self._processes.ended
            if not only_after_errors and not ended:
                batch = started.batch
                self._inputs.give(Area(batch.offset, batch.num_bytes))

    def _wait(self, started: "_Started") -> None:
        if self._processes is None or started.making is None:
            make_rows(self._makers, self._memory, started.batch)
        else:
            self._processes.finish(started.making)
            check(self._memory, started.batch)

    def _rows(self, started: "_Started") -> NDArray[Any]:
        engine, batch = self._makers.engine, started.batch
        shape = (batch.num_rows, *engine.row_shape)
        rows = self._memory.array(started.output.offset, shape, engine.dtype)
        if len(self._kept) >= self._most_held:
            rows = _copy(rows)
            self._outputs.give(started.output)
            return rows
        lease = _Lease(rows, self._gone.append)
        lease.area = started.output
        self._kept[id(lease)] = lease
        return rows

    def _take_back(self) -> None:
        """Takes the memory of batches that are gone."""
        with contextlib.suppress(IndexError):  # Other threads do the same.
            while True:
                lease = self._gone.popleft()
                del self._kept[id(lease)]
                self._outputs.give(lease.area)

    @property
    def cpu_seconds(self) -> float:
        return 0.0 if self._processes is None else self._processes.cpu_seconds

    def stop(self) -> None:
        if self._processes is not None:
            self._processes.stop()

    def wait(self) -> None:
        if self._processes is not None:
            self._processes.wait()

    def forget(self) -> None:
        if self._processes is not None:
            self._processes.forget()


@dataclasses.dataclass
class _Started:
    """A batch that is being made.

    Attributes:
        batch: The whole batch.
        parts: Its parts.
        output: Memory of its rows.
        room: Space for what else there is of each record, in bytes.
        making: What to wait for; None if this process makes the rows in the end.
    """

    batch: Part
    parts: list[Part]
    output: Area
    room: int
    making: Making | None = None


class _Lease(weakref.ref[NDArray[Any]]):
    """A batch that the caller may still use.

    Its callback must not be written in Python: Ctrl-C in a callback is lost, and
    batches are let go of just when Python is back from TensorFlow and notices Ctrl-C.

    Attributes:
        area: Memory of the batch.
    """

    __slots__ = ("area",)
    area: Area


def _copy(rows: NDArray[Any]) -> NDArray[Any]:
    """Copies an array to memory of its own, at the start of a page."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    buffer = mmap.mmap(-1, rows.nbytes, flags=flags)
    copied: NDArray[Any] = np.ndarray(rows.shape, rows.dtype, buffer)
    copied[...] = rows
    return copied


@contextlib.contextmanager
def _streams_taken() -> Iterator[None]:
    """Keeps what is opened from becoming standard input, output or error.

    A process may have closed these. In a worker they are something else.
    """
    fds = [os.open(os.devnull, os.O_RDWR)]
    while fds[-1] < 3:
        fds.append(os.dup(fds[0]))
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


# Held while processes start, when a forked child would get both ends of their sockets.
_no_fork = threading.RLock()
_started: "weakref.WeakSet[PixelWorkers[Any]]" = weakref.WeakSet()


def cpu_seconds_of_workers() -> float:
    """Returns the CPU time that all workers of this process have used."""
    return sum(workers.cpu_seconds for workers in list(_started))


def _after_fork_in_child() -> None:
    _no_fork.release()
    for workers in list(_started):
        workers._forget()


os.register_at_fork(
    before=_no_fork.acquire,
    after_in_parent=_no_fork.release,
    after_in_child=_after_fork_in_child,
)
