"""The C library's memory for large tensors: kept, where TensorFlow would give it back.

TensorFlow's generator datasets set glibc's M_MMAP_THRESHOLD to 128 KiB, which also ends
its adapting to what a program does. From then on every decoded image is memory fresh
from the kernel, which clears it page by page: docs/performance.md#memory-kept.
"""

import contextlib
import ctypes
import os

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
