"""Batches of pixels made by worker processes: START HERE for the processes."""

import contextlib
import copy
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reader.pixel_workers.parts import Engine, Int32s, Makers, RecordMaker
from reader.pixel_workers.processes import CLOSED
from reader.pixel_workers.session import Session
from reader.pixels.errors import PixelWorkerError
from reader.shuffle.arrays import Float64s, Int64s

_LOG = logging.getLogger("reader")

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
        self._session: Session | None = None
        self._closed = False
        self._maps = True

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
        session = None
        try:
            with self._session_in_use() as session:
                started = session.start_read(places, draws, wait=wait)
        except PixelWorkerError as error:
            if not self._stops_mapping(session, error):
                raise
            return self.start_read(places, draws, wait=wait)

        def finish() -> tuple[NDArray[Any], list[Any]]:
            found = None
            try:
                with self._session_in_use(session):
                    found = session.finish_read(started)
            except PixelWorkerError as error:
                if not self._stops_mapping(session, error):
                    raise
            if found is not None:
                return found
            # Not `read`: this thread may keep all channels that it would wait for.
            return self.start_read(places, draws)()

        return finish

    def _stops_mapping(self, session: Session | None, error: PixelWorkerError) -> bool:
        """Has files read and not mapped from now on, if a map ended a worker.

        Reading such a file then reports what is wrong with it.

        Returns:
            False if the error is another one.
        """
        if session is None or not session.maps or error.status != -signal.SIGBUS:
            return False
        self._maps = False
        if self._end_session(session):
            _LOG.warning(
                "a shard was cut short, or cannot be read, while it was mapped into "
                "memory; shards are read without maps from here on"
            )
        if self.error is not None and self.error.status == error.status:
            self.error = None
        return True

    @contextlib.contextmanager
    def _session_in_use(self, session: Session | None = None) -> Iterator[Session]:
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

    def _started(self) -> Session:
        with self._lock:
            if self._closed:
                raise PixelWorkerError(CLOSED)
            if self._session is None:
                with _no_fork, _streams_taken():
                    session = Session(
                        self._makers,
                        self._num_workers,
                        self._most_held,
                        maps=self._maps,
                    )
                    self._session = session
                    self._finalizer = weakref.finalize(self, session.stop)
                    _started.add(self)
            return self._session

    def _end_session(self, only: Session | None = None) -> bool:
        """Ends the session, if it is `only`; returns whether there was one to end."""
        with self._lock:
            session = self._session
            if session is None or only not in (None, session):
                return False
            self._session = None
            self._finalizer()
            session.wait()
            return True

    def _forget(self) -> None:
        self._lock = threading.Lock()
        if self._session is not None:
            self._finalizer.detach()
            self._session.forget()
            self._session = None


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
