"""Large arrays of bytes, whose memory is used again once nobody has them."""

import contextlib
import ctypes
import os
import sys
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

# TensorFlow takes an array over as it is, without a copy, if it begins at such a place.
_ALIGNMENT = 64
# More than these are given back: a window is read, and its images are made, while those
# of the one before are used up.
_MOST = 3


class Arrays:
    """Makes arrays; those from the C library are cleared page by page, each time.

    A view keeps a reference to the array it shows a part of, however often it is cut
    again, and so does a tensor that was made of one. So one that only we refer to is
    free.

    What lies here stays as long as this does, so it belongs to the dataset; functions
    that TensorFlow is given, which it keeps for the life of the process, have but a
    `weakref` of it.
    """

    def __init__(self) -> None:
        """Begins without any."""
        self._whole: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Returns uint8[num_bytes] of any content."""
        with self._lock:
            whole = self._free(num_bytes + _ALIGNMENT)
        begin = -whole.ctypes.data % _ALIGNMENT
        return whole[begin : begin + num_bytes]

    def _free(self, num_bytes: int) -> NDArray[np.uint8]:
        for place in range(len(self._whole)):
            large_enough = len(self._whole[place]) >= num_bytes
            if large_enough and _references(self._whole, place) <= _REFERENCES_OF_FREE:
                return self._whole[place]
        made = np.empty(num_bytes + num_bytes // 8, np.uint8)
        self._whole = [made, *self._whole][:_MOST]
        return made


def _references(whole: list[NDArray[np.uint8]], place: int) -> int:
    return sys.getrefcount(whole[place])


# Counted and not known: versions of Python differ in what they count of their own.
_REFERENCES_OF_FREE = _references([np.empty(0, np.uint8)], 0)


def take(arrays: "weakref.ref[Arrays]", num_bytes: int) -> NDArray[np.uint8]:
    """Returns an array of those there are, or another one if these are gone."""
    return (arrays() or Arrays()).take(num_bytes)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# The largest that glibc takes, and what it would come to by itself; it keeps twice as
# much at the end of a heap.
_BYTES = 32 << 20


def keep_large_blocks() -> None:
    """Lets glibc keep what is freed, up to 32 MiB a piece; elsewhere does nothing.

    To be called when TensorFlow has made a generator dataset's iterator. Whoever tells
    glibc in the environment what to do is left with what TensorFlow makes of that.
    """
    told = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name in os.environ for name in told):
        return
    with contextlib.suppress(AttributeError, OSError):  # Another C library.
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _BYTES)
