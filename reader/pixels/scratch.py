"""Arrays that each thread keeps and uses again.

A fresh large array costs a page fault for every 4 KiB that is written to it.
"""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Arrays(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}


_kept = _Arrays()


def scratch(name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
    """Returns an uninitialized array, valid until this thread's next call with `name`.

    Args:
        name: Use of the array. Always the same for a dtype.
        shape: Shape of the array.
        dtype: NumPy type of a value.
    """
    num = math.prod(shape)
    array = _kept.arrays.get(name)
    if array is None or array.size < num:
        array = _kept.arrays[name] = np.empty(num + num // 8, dtype)
    return array[:num].reshape(shape)
