"""Long arrays of columns, on disk between planning and writing.

An embedding weighs more than all else that is known of a key. Rows are sorted and
grouped while planning; their arrays stay where the listing put them, and a reference
travels.
"""

import hashlib
import os
from array import array
from typing import IO

from beam_jobs.config.columns import Value
from beam_jobs.elements import StoredArray
from beam_jobs.storage.files import read_file

# A shorter array is lighter than a reference to it.
_MIN_LENGTH = 16


class ArrayWriter:
    """Puts long arrays of numbers into a file, one after the other."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Takes where bytes go, and what the file will be called."""
        self._file = file
        self._name = name
        self._offset = 0

    def put(self, value: Value) -> Value | StoredArray:
        """Returns a reference to a long array, and any other value as it is."""
        packed = _packed(value)
        if packed is None:
            return value
        data = packed.tobytes()
        self._file.write(data)
        spilled = StoredArray(
            hashlib.sha256(data).hexdigest(),
            self._name,
            self._offset,
            len(data),
            packed.typecode,
        )
        self._offset += len(data)
        return spilled


def digest_of(value: Value | StoredArray) -> object:
    """Returns what stands for a value, the same before and after it was put away."""
    if isinstance(value, StoredArray):
        return value.sha256
    packed = _packed(value)
    return value if packed is None else hashlib.sha256(packed.tobytes()).hexdigest()


def fetch(value: Value | StoredArray, folder: str) -> Value:
    """Returns the array that a reference stands for, and any other value as it is."""
    if not isinstance(value, StoredArray):
        return value
    path = os.path.join(folder, value.file)
    numbers = array(value.typecode)
    numbers.frombytes(read_file(path, offset=value.offset, at_most=value.size))
    return tuple(numbers)


def _packed(value: Value) -> "array[float] | array[int] | None":
    if not isinstance(value, tuple) or len(value) < _MIN_LENGTH:
        return None
    if isinstance(value[0], float):
        return array("f", (float(number) for number in value))
    if isinstance(value[0], int):
        return array("q", (int(number) for number in value))
    return None
