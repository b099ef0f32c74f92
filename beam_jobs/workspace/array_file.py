"""Stores long arrays of columns on disk between planning and writing.

An embedding is larger than all other data of a key. Planning sorts and groups rows, so
listing writes the arrays to files, and the rows carry only references.
"""

import contextlib
import hashlib
import io
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import IO

from beam_jobs.config.columns import Value
from beam_jobs.elements import StoredArray
from beam_jobs.storage.files import publish, read_file
from beam_jobs.workspace.workspace import Workspace

# A reference takes more space than a shorter array.
_MIN_LENGTH = 16


class ArrayWriter:
    """Appends long arrays of numbers to a file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Initializes the writer.

        Args:
            file: File object that the arrays are written to.
            name: Name of the file, stored in the references.
        """
        self._file = file
        self._name = name
        self._offset = 0

    def put(self, value: Value) -> Value | StoredArray:
        """Writes a long array and returns its reference. Returns other values as is."""
        packed = _packed(value)
        if packed is None:
            return value
        data = packed.tobytes()
        self._file.write(data)
        stored = StoredArray(
            hashlib.sha256(data).hexdigest(),
            self._name,
            self._offset,
            len(data),
            packed.typecode,
        )
        self._offset += len(data)
        return stored


def file_of_task(task: object) -> str:
    """Returns a file name that depends only on a task.

    A retry of the task overwrites the same file.
    """
    return f"{hashlib.sha256(repr(task).encode()).hexdigest()[:16]}.bin"


@contextlib.contextmanager
def array_writer(
    workspace: Workspace, task: object, columns: Sequence[object]
) -> Iterator[ArrayWriter]:
    """Opens the writer of a task's long arrays; of none, if there are no columns.

    Args:
        workspace: Workspace of the job.
        task: Part of a source that is listed.
        columns: Columns that are read.
    """
    name = file_of_task(task)
    if not columns:
        yield ArrayWriter(io.BytesIO(), name)
        return
    path = os.path.join(workspace.arrays, name)
    with publish(path, workspace.tmp, durable=False) as file:
        yield ArrayWriter(file, name)


def digest_of(value: Value | StoredArray) -> object:
    """Returns a value to compare by: the SHA-256 of a long array, others unchanged.

    The result is the same for an array and its reference.
    """
    if isinstance(value, StoredArray):
        return value.sha256
    packed = _packed(value)
    return value if packed is None else hashlib.sha256(packed.tobytes()).hexdigest()


def fetch(value: Value | StoredArray, folder: str) -> Value:
    """Reads the array of a reference. Returns other values as is.

    Args:
        value: Value or reference.
        folder: Path of the folder with the array files.
    """
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
