"""Memory that a process shares with its workers, without a name in any folder."""

import contextlib
import math
import mmap
import os
import tempfile
import threading
import weakref
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_SMALLEST_MAPPING = 1 << 26


class SharedMemory:
    """A file without a name, which processes map.

    On Linux it is in memory and has no limit of its own; `/dev/shm`, which containers
    limit to 64 MiB, is not used. Other systems get an unlinked temporary file.

    Attributes:
        fd: Descriptor of the file.
    """

    def __init__(self, fd: int | None = None) -> None:
        """Opens the memory.

        Args:
            fd: Descriptor inherited from another process; None creates new memory.
        """
        self.fd = _unnamed_file() if fd is None else fd
        self._close = weakref.finalize(self, os.close, self.fd)
        self._close.atexit = False
        self._mapping: mmap.mmap | None = None
        self._end = 0
        self._size = 0

    def reserve(self, num_bytes: int) -> int:
        """Appends `num_bytes` to the file and returns their offset.

        Only pages that are written to take up memory. Not thread-safe.
        """
        offset = self._end
        self._end += -(-num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._end > self._size:
            # Each process maps the whole file, again if it has grown: so it grows
            # rarely.
            self._size = max(self._end, 2 * self._size, _SMALLEST_MAPPING)
            os.ftruncate(self.fd, self._size)
        return offset

    def release(self, offset: int, num_bytes: int) -> None:
        """Gives the memory of reserved bytes back to the system, if it can do that."""
        remove = getattr(mmap, "MADV_REMOVE", None)
        if remove is not None:
            with contextlib.suppress(OSError):
                self._mapped(offset + num_bytes).madvise(remove, offset, num_bytes)

    def array(
        self, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        """Returns an array on the memory, which it keeps mapped.

        The views of the array keep it alive, and not the mapping alone.
        """
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        return np.ndarray(shape, dtype, self._mapped(offset + num_bytes), offset)

    def bytes_at(self, offset: int, num_bytes: int) -> memoryview:
        """Returns a view of bytes on the memory."""
        return memoryview(self._mapped(offset + num_bytes))[offset:][:num_bytes]

    def _mapped(self, end: int) -> mmap.mmap:
        mapping = self._mapping
        if mapping is None or len(mapping) < end:
            mapping = self._mapping = mmap.mmap(self.fd, 0)
        return mapping


class MemoryPath(NamedTuple):
    """Path at which another process of this machine opens a `NamedMemory`."""

    path: str


class NamedMemory(SharedMemory):
    """Shared memory that other processes open by a path, as long as this one lives.

    After a fork, the child has empty memory of its own, with another path. Pickled, it
    is a `MemoryPath`.
    """

    def __init__(self) -> None:
        """Creates the memory."""
        super().__init__()
        self._name_it()
        _named.add(self)

    def _name_it(self) -> None:
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        if not os.access(self.path, os.R_OK):  # Not Linux, or /proc is closed.
            with tempfile.NamedTemporaryFile(delete=False) as file:
                os.dup2(file.fileno(), self.fd, inheritable=False)
            self.path = file.name
            weakref.finalize(self, _unlink, os.getpid(), file.name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the path."""
        return MemoryPath, (self.path,)

    def write(self, data: memoryview, offset: int) -> None:
        """Writes bytes, without the GIL while they are copied.

        Raises:
            OSError: The memory is used up.
        """
        while data:
            written = os.pwrite(self.fd, data, offset)
            data, offset = data[written:], offset + written

    def _after_fork(self) -> None:
        fresh = _unnamed_file()
        os.dup2(fresh, self.fd, inheritable=False)
        os.close(fresh)
        self._mapping, self._size = None, 0
        self._name_it()


def _unlink(pid: int, path: str) -> None:
    if os.getpid() == pid:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


_named: "weakref.WeakSet[NamedMemory]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for memory in list(_named):
        memory._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Area(NamedTuple):
    """A piece of the shared memory, in bytes."""

    offset: int
    num_bytes: int


class Areas:
    """Areas of similar sizes that are used again and again.

    Memory that was used before costs no page faults. There are never more areas than
    were in use at once, and too small ones are replaced.

    Attributes:
        num_used: Number of areas that are in use.
    """

    def __init__(self, memory: SharedMemory, lock: threading.Lock) -> None:
        """Initializes the areas.

        Args:
            memory: Memory that the areas are in.
            lock: Lock of the memory, shared by all areas on it.
        """
        self._memory = memory
        self._lock = lock
        self._free: deque[Area] = deque()
        self._num_areas = 0

    @property
    def num_used(self) -> int:  # noqa: D102
        return self._num_areas - len(self._free)

    def take(self, num_bytes: int) -> Area:
        """Returns an area of at least `num_bytes`."""
        with self._lock:
            free = [self._free.pop() for _ in range(len(self._free))]
            large = [area for area in free if area.num_bytes >= num_bytes]
            if large:
                area = min(large, key=lambda area: area.num_bytes)
                free.remove(area)
            else:
                if free:
                    small = min(free, key=lambda area: area.num_bytes)
                    free.remove(small)
                    self._num_areas -= 1
                    self._memory.release(*small)
                self._num_areas += 1
                rounded = _rounded(num_bytes)
                area = Area(self._memory.reserve(rounded), rounded)
            # What was used last comes first, while it may be in a cache.
            self._free.extendleft(free)
        return area

    def trim(self) -> None:
        """Gives the memory of areas that are not in use back to the system."""
        with self._lock:
            for area in list(self._free):
                self._memory.release(*area)

    def give(self, area: Area) -> None:
        """Takes an area back.

        Takes no lock: the garbage collector may call this while the lock is held.
        """
        self._free.append(area)


def _rounded(num_bytes: int) -> int:
    """Rounds up by at most a fourth, so that areas fit batches of similar sizes."""
    step = max(mmap.PAGESIZE, 1 << max(num_bytes.bit_length() - 3, 0))
    return -(-num_bytes // step) * step


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("diptych", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
