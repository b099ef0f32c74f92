"""A pool of large byte arrays that reuses memory without references."""

import contextlib
import ctypes
import os
import sys
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

# TensorFlow takes over an array without a copy if its address has this alignment.
_ALIGNMENT = 64
# Arrays kept in the pool. One window is read and its images are made while the images
# of the previous window are consumed.
_MAX_ARRAYS = 3


class Arrays:
    """Pool of arrays.

    A fresh large array from the C library is slow: the kernel clears each of its pages
    on first use. The pool reuses arrays instead.

    A view keeps a reference to its base array, and so does a tensor made from a view.
    So an array is free if only the pool refers to it.

    The arrays live as long as the pool, so the pool belongs to the dataset. TensorFlow
    keeps functions for the life of the process. Such functions hold only a `weakref` to
    the pool.
    """

    def __init__(self) -> None:
        """Creates an empty pool."""
        self._whole: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Returns an uninitialized uint8[num_bytes]."""
        with self._lock:
            whole = self._free(num_bytes + _ALIGNMENT)
        begin = -whole.ctypes.data % _ALIGNMENT
        return whole[begin : begin + num_bytes]

    def _free(self, num_bytes: int) -> NDArray[np.uint8]:
        for i in range(len(self._whole)):
            large_enough = len(self._whole[i]) >= num_bytes
            if large_enough and _references(self._whole, i) <= _REFERENCES_OF_FREE:
                return self._whole[i]
        array = np.empty(num_bytes + num_bytes // 8, np.uint8)
        self._whole = [array, *self._whole][:_MAX_ARRAYS]
        return array


def _references(whole: list[NDArray[np.uint8]], i: int) -> int:
    return sys.getrefcount(whole[i])


# Measured, not hard-coded: Python versions differ in the references that they count.
_REFERENCES_OF_FREE = _references([np.empty(0, np.uint8)], 0)


def take(arrays: "weakref.ref[Arrays]", num_bytes: int) -> NDArray[np.uint8]:
    """Returns an array from the pool, or a new array if the pool no longer exists."""
    return (arrays() or Arrays()).take(num_bytes)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# The largest mmap threshold that glibc accepts and would reach by itself. Its trim
# threshold is twice that.
_BYTES = 32 << 20


def keep_large_blocks() -> None:
    """Lets glibc keep freed blocks of up to 32 MiB; a no-op with other C libraries.

    Call this after TensorFlow has made the iterator of a generator dataset. If the
    environment already configures glibc's malloc, nothing changes.
    """
    variables = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name in os.environ for name in variables):
        return
    with contextlib.suppress(AttributeError, OSError):  # Another C library.
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _BYTES)
