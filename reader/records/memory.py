"""Keeps the memory of batches that are gone, to use it again."""

import contextlib
import ctypes
import os

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
