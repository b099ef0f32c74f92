"""File access for the reader, in local folders and in buckets.

A path with a scheme, such as `gs://bucket/out`, is read through the store layer,
`reader.object_stores`. Other paths are local.
"""

import contextlib
import fnmatch
import functools
import glob
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from reader.object_stores.open_store import store_of
from reader.object_stores.protocol import check_address
from reader.object_stores.range_file import open_object
from reader.object_stores.request_threads import submit

_T = TypeVar("_T")
Pattern = str | os.PathLike[str]


def local_path(path: Pattern) -> str:
    """Returns a path as text, with a leading `~` replaced by the home folder.

    A shell expands `~` at the start of an argument, but not in `--output=~/out`.

    Raises:
        UsageError: It is an address that names no bucket.
    """
    local = os.path.expanduser(os.fspath(path))
    check_address(local)
    return local


def is_remote(path: str) -> bool:
    """Returns whether a path has a scheme, such as `gs://bucket/out`."""
    return "://" in path


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
    return store_of(path).read(path, offset, length)


def open_file(path: str) -> BinaryIO:
    """Opens a file for sequential, buffered reading.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read.
    """
    if not is_remote(path):
        return open(path, "rb", buffering=_BUFFER_BYTES)
    return open_object(store_of(path), path)


_BUFFER_BYTES = 1 << 20


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
    return store_of(path).stat(path).size


def read_large(path: str, size: int) -> BinaryIO:
    """Returns a file without a name with all bytes of an object in a bucket.

    Args:
        path: Address of the object.
        size: Its size in bytes.

    Raises:
        FileNotFoundError: The object does not exist.
        OSError: The object cannot be read, or the disk is full.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115
    begins = range(0, size, _PART_BYTES)
    for at in range(0, len(begins), _PARTS_AT_ONCE):
        some = begins[at : at + _PARTS_AT_ONCE]
        ends = [min(begin + _PART_BYTES, size) for begin in some]
        for data in store_of(path).read_ranges(path, some, ends):
            file.write(data)
    file.flush()
    return file


_PART_BYTES, _PARTS_AT_ONCE = 4 << 20, 16


def begin_reading(path: str, read: Callable[..., _T], *args: Any) -> Callable[[], _T]:
    """Begins to read something, if it is in a bucket, where that takes round trips.

    Args:
        path: Path of what is read.
        read: Function that reads it.
        *args: Arguments of the function.

    Returns:
        Function that returns the result, or raises.
    """
    if is_remote(path):
        return submit(read, *args).result
    return functools.partial(read, *args)


def is_folder(path: str) -> bool:
    """Returns whether a path is an existing folder.

    In a bucket, a folder exists if it contains an object.
    """
    if not is_remote(path):
        return os.path.isdir(path)
    with contextlib.suppress(FileNotFoundError):
        # The first page of names; without `deep`, all pages are asked for.
        return any(True for _ in store_of(path).scan(path, deep=True))
    return False


def list_folder(path: str) -> list[str]:
    """Returns the names of the entries of a folder, sorted."""
    if not is_remote(path):
        return sorted(os.listdir(path))
    return sorted(_scan(path))


def match(pattern: str) -> list[str]:
    """Returns the paths that match a glob, sorted."""
    if not is_remote(pattern):
        return sorted(glob.glob(pattern))
    folder, _, names = pattern.rpartition("/")
    folders = match(folder) if glob.has_magic(folder) else [folder]
    return sorted(
        f"{here}/{name}"
        for here in folders
        for name in fnmatch.filter(_scan(here), names)
    )


def _scan(folder: str) -> Iterator[str]:
    """Yields the names of a folder's entries; none of a folder that does not exist."""
    with contextlib.suppress(FileNotFoundError):
        for entry in store_of(folder).scan(folder, deep=False):
            yield entry.name


def same_place(path: str) -> str:
    """Returns a canonical path, equal for all spellings of the same local folder."""
    return path.rstrip("/") if is_remote(path) else os.path.realpath(path)
