"""Local files that stay open between reads."""

import functools
import mmap
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# A process may open 1,024 files, or 256 on macOS, and also opens other files.
_MAX_OPEN_FILES = 128


class OpenFiles:
    """Local files, opened on first use; threads and forked processes may share them."""

    def __init__(self) -> None:
        """Creates an empty cache of open files."""
        # A file dropped from the cache is closed once no thread reads it.
        self._open = functools.lru_cache(_MAX_OPEN_FILES)(_File)

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Returns bytes of a file, fewer than `length` at its end.

        Raises:
            OSError: The file cannot be read.
        """
        file = self._open(path)  # This reference keeps the file open while reading.
        return os.pread(file.descriptor, length, offset)

    def fill(self, view: memoryview, path: str, offset: int) -> bool:
        """Fills a view from a file; returns whether the file reaches that far.

        Raises:
            OSError: The file cannot be read.
        """
        file, place = self._open(path), 0
        while place < len(view):
            got = os.preadv(file.descriptor, [view[place:]], offset + place)
            if not got:
                return False
            place += got
        return True

    def has_cached(self, path: str, offset: int) -> bool:
        """Returns whether the kernel has a byte in its cache; False if it does not say.

        Raises:
            OSError: The file cannot be opened.
        """
        file = self._open(path)
        if not hasattr(os, "RWF_NOWAIT"):
            return False
        try:
            byte = bytearray(1)
            return os.preadv(file.descriptor, [byte], offset, os.RWF_NOWAIT) == 1
        except OSError:
            return False

    def will_need(self, path: str, offset: int, length: int) -> None:
        """Has the kernel read a part of a file into its cache in the background.

        Nothing happens without `posix_fadvise`, as on macOS.

        Raises:
            OSError: The file cannot be opened.
        """
        if hasattr(os, "posix_fadvise"):
            file = self._open(path)
            os.posix_fadvise(file.descriptor, offset, length, os.POSIX_FADV_WILLNEED)


class MappedFiles:
    """Local files that stay mapped into memory; threads may share them.

    To use the memory of a file that was cut short in the meantime, or that a failing
    disk does not give, ends the process by the signal SIGBUS.
    """

    def __init__(self) -> None:
        """Creates an empty cache of mapped files."""
        self._mapped = functools.lru_cache(_MAX_OPEN_FILES)(_mapped)

    def bytes_of(self, path: str) -> NDArray[np.uint8] | None:
        """Returns all bytes of a file; None if it cannot be mapped."""
        return self._mapped(path)


def _mapped(path: str) -> NDArray[np.uint8] | None:
    try:
        with open(path, "rb") as file:  # The map has a descriptor of its own.
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError):  # A file that is empty cannot be mapped.
        return None
    return np.frombuffer(data, np.uint8)


class _File:
    """An open file, closed when its last reference is dropped."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)

    # Bound as a default: at interpreter exit, `os` may be gone before the file is.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.descriptor >= 0:
            close(self.descriptor)
