"""File access for the reader, in local folders and in buckets.

A path with a scheme, such as `gs://bucket/out`, is read through TensorFlow's file
systems, except `s3://`, which TensorFlow does not support and boto3 reads. Other paths
are local and read by Python without TensorFlow.
"""

import contextlib
import glob
import io
import os
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from reader.contract.errors import UsageError
from reader.storage import s3

Pattern = str | os.PathLike[str]


def local_path(path: Pattern) -> str:
    """Returns a path as text, with a leading `~` replaced by the home folder.

    A shell expands `~` at the start of an argument, but not in `--output=~/out`.
    """
    return os.path.expanduser(os.fspath(path))


def is_remote(path: str) -> bool:
    """Returns whether a path has a scheme, such as `gs://bucket/out`."""
    return "://" in path


def is_s3(path: str) -> bool:
    """Returns whether a path is in S3, which TensorFlow cannot read."""
    return path.startswith("s3://")


def read_bytes(path: str, offset: int = 0, length: int = -1) -> bytes:
    """Returns a part of a file.

    Args:
        path: Path of the file.
        offset: Byte offset at which the part begins.
        length: Number of bytes; negative to read to the end of the file.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    if is_s3(path):
        return s3.read_bytes(path, offset, length)
    with _errors_of_python(path), _tensorflow().io.gfile.GFile(path, "rb") as file:
        if offset:
            file.seek(offset)
        data: bytes = file.read(length)
        return data


def open_file(path: str) -> BinaryIO:
    """Opens a file for sequential, buffered reading.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read.
    """
    if not is_remote(path):
        return open(path, "rb", buffering=_BUFFER_BYTES)
    return io.BufferedReader(_RemoteFile(path, size_of(path)), _REMOTE_BUFFER_BYTES)


_BUFFER_BYTES = 1 << 20
# A request is more expensive than the bytes it transfers.
_REMOTE_BUFFER_BYTES = 8 << 20


class _RemoteFile(io.RawIOBase):
    """A Python file object for an object in a bucket."""

    def __init__(self, path: str, size: int) -> None:
        self._path, self._size, self._offset = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}
        self._offset = base[whence] + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        num = min(len(buffer), self._size - self._offset)
        if num <= 0:
            return 0
        data = read_bytes(self._path, self._offset, num)
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


@contextlib.contextmanager
def replaced(path: str) -> Iterator[BinaryIO]:
    """Opens a temporary local file that replaces `path` atomically when complete.

    If the block raises, the temporary file is removed and `path` stays unchanged.
    """
    # The name is unique because other processes may write the same file. mkstemp is not
    # used because other users cannot read its files.
    temporary = f"{path}.{uuid.uuid4().hex}"
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too; nothing is swallowed.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def size_of(path: str) -> int:
    """Returns the size of a file, in bytes.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The size cannot be read.
    """
    if not is_remote(path):
        return os.path.getsize(path)
    if is_s3(path):
        return s3.size_of(path)
    with _errors_of_python(path):
        return int(_tensorflow().io.gfile.stat(path).length)


def is_folder(path: str) -> bool:
    """Returns whether a path is an existing folder."""
    if not is_remote(path):
        return os.path.isdir(path)
    if is_s3(path):
        return s3.is_folder(path)
    with _errors_of_python(path):
        return bool(_tensorflow().io.gfile.isdir(path))


def list_folder(path: str) -> list[str]:
    """Returns the names of the entries of a folder, sorted."""
    if not is_remote(path):
        return sorted(os.listdir(path))
    if is_s3(path):
        return sorted(s3.list_folder(path))
    with _errors_of_python(path):
        names = _tensorflow().io.gfile.listdir(path)
    return sorted(name.rstrip("/") for name in names)


def match(pattern: str) -> list[str]:
    """Returns the paths that match a glob, sorted."""
    if not is_remote(pattern):
        return sorted(glob.glob(pattern))
    if is_s3(pattern):
        return sorted(s3.match(pattern))
    with _errors_of_python(pattern):
        return sorted(_tensorflow().io.gfile.glob(pattern))


def same_place(path: str) -> str:
    """Returns a canonical path, equal for all spellings of the same local folder."""
    return path.rstrip("/") if is_remote(path) else os.path.realpath(path)


@contextlib.contextmanager
def _errors_of_python(path: str) -> Iterator[None]:
    """Converts TensorFlow's errors about a file to Python's errors."""
    errors = _tensorflow().errors
    try:
        yield
    except errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from None
    except errors.UnimplementedError as error:
        raise UsageError(
            f"TensorFlow cannot read {path} ({error.message}): copy it to a local "
            "folder or to gs://"
        ) from None
    except errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from error


def _tensorflow() -> Any:
    import tensorflow

    return tensorflow
