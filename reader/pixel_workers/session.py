"""Shared memory and processes of pixel workers, from their start to their end."""

import contextlib
import dataclasses
import math
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.pixel_workers.parts import (
    Int32s,
    Makers,
    Part,
    check,
    make_rows,
    part_bounds,
    rests_of,
    write_encoded,
    write_places,
)
from reader.pixel_workers.processes import Making, Processes
from reader.pixel_workers.shared_memory import Area, Areas, SharedMemory
from reader.shuffle.arrays import Float64s, Int64s

# Space for a record without its image, in bytes. It grows if a record needs more.
_ROOM = 2048


class Session:
    """Shared memory and processes, from their start to their end.

    Threads may share a session.

    Attributes:
        maps: Whether the processes map files.
    """

    def __init__(
        self, makers: Makers, num_workers: int, most_held: int, *, maps: bool
    ) -> None:
        """Starts the processes.

        Args:
            makers: What makes the rows of a batch.
            num_workers: Number of processes. With 0, this process makes the rows.
            most_held: Number of batches that the caller may keep without a copy.
            maps: Whether the processes may map files. This one never does.
        """
        self._makers, engine = makers, makers.engine
        self.maps = maps and makers.records is not None and makers.records.may_map
        self._num_workers = num_workers
        self._most_held = most_held
        self._row_bytes = math.prod(engine.row_shape) * np.dtype(engine.dtype).itemsize
        self._room = _ROOM
        self._memory = SharedMemory()
        self._processes = None
        if num_workers:
            of_workers = makers.mapping() if self.maps else makers
            self._processes = Processes(of_workers, num_workers, self._memory)
        lock = threading.Lock()
        self._inputs = Areas(self._memory, lock)
        self._outputs = Areas(self._memory, lock)
        self._kept: dict[int, _Lease] = {}
        self._gone: deque[_Lease] = deque()

    def start(
        self, encoded: Sequence[bytes], sizes: Int32s | None, draws: Float64s
    ) -> "Started":
        """Has the images of a batch made; the arguments are as of `write_encoded`."""
        batch = write_encoded(self._memory, self._inputs, encoded, sizes, draws)
        return self._start(batch, wait=True)

    def start_read(self, places: Int64s, draws: Float64s, *, wait: bool) -> "Started":
        """Has a batch read; the arguments are as of `PixelWorkers.start_read`."""
        batch = write_places(self._memory, self._inputs, places, draws, self._room)
        return self._start(batch, wait=wait)

    def _start(self, batch: Part, *, wait: bool) -> "Started":
        self._take_back()
        output = self._outputs.take(batch.num_rows * self._row_bytes)
        batch = batch._replace(rows_offset=output.offset)
        started = Started(batch, [batch], output, self._room)
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

    def finish(self, started: "Started") -> NDArray[Any]:
        """Returns the rows of a batch that was started."""
        with self._given_back(started):
            self._wait(started)
            return self._rows(started)

    def finish_read(self, started: "Started") -> tuple[NDArray[Any], list[Any]] | None:
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
        self, started: "Started", *, only_after_errors: bool = False
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

    def _wait(self, started: "Started") -> None:
        if self._processes is None or started.making is None:
            make_rows(self._makers, self._memory, started.batch)
        else:
            self._processes.finish(started.making)
            check(self._memory, started.batch)

    def _rows(self, started: "Started") -> NDArray[Any]:
        engine, batch = self._makers.engine, started.batch
        shape = (batch.num_rows, *engine.row_shape)
        rows = self._memory.array(started.output.offset, shape, engine.dtype)
        self._take_back()
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
        """CPU time that the processes have used to make images."""
        return 0.0 if self._processes is None else self._processes.cpu_seconds

    def stop(self) -> None:
        """Has the processes end."""
        if self._processes is not None:
            self._processes.stop()

    def wait(self) -> None:
        """Waits until the processes have ended."""
        if self._processes is not None:
            self._processes.wait()

    def forget(self) -> None:
        """Lets go of the processes, which are those of the parent before a fork."""
        if self._processes is not None:
            self._processes.forget()


@dataclasses.dataclass
class Started:
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
