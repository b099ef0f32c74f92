"""Reads files with retries and publishes them atomically, locally or in a bucket.

A path is a local path or an address such as `gs://bucket/name`. The job reads and
writes all files through this module, so building a dataset in a bucket takes the same
steps as building one on a disk.
"""

import contextlib
import errno
import functools
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, AnyStr, TypeVar

import google_crc32c

from beam_jobs.storage import local
from beam_jobs.storage.parallel import map_in_order
from reader.object_stores.open_store import store_of
from reader.object_stores.protocol import Listed, ObjectStore, Status, scheme_of
from reader.object_stores.range_file import open_object

_In = TypeVar("_In")
_T = TypeVar("_T")
_Path = str | bytes

# A network file system can fail briefly. These errors do not pass.
_RETRY_AFTER_SECONDS = (0.1, 0.5)
_NOT_WORTH_RETRYING = (errno.ESTALE, errno.ENOSPC, errno.EDQUOT)

_CHUNK_BYTES = 8 << 20

# Number of concurrent requests when many small objects are read or deleted.
REQUESTS = 16


def is_remote(path: _Path) -> bool:
    """Returns whether a path is an address in a bucket."""
    return scheme_of(os.fsdecode(path)) is not None


def absolute(path: AnyStr) -> AnyStr:
    """Returns an absolute path. An address in a bucket loses its trailing slashes."""
    if not is_remote(path):
        return os.path.abspath(path)
    text = os.fsdecode(path).rstrip("/")
    return text if isinstance(path, str) else os.fsencode(text)


def real_path(path: AnyStr) -> AnyStr:
    """Returns an absolute path with symbolic links resolved. Buckets have no links."""
    return absolute(path) if is_remote(path) else os.path.realpath(path)


def _store(path: _Path) -> tuple[ObjectStore | None, str]:
    """Returns the store of a path, or None if it is local, and the path as text."""
    text = os.fsdecode(path)
    if scheme_of(text) is None:
        return None, text
    # Files on a disk are read without Beam.
    from beam_jobs.storage.beam_internals import store_options

    return store_of(text, store_options()), text


def read_file(
    path: _Path,
    *,
    offset: int = 0,
    at_most: int = -1,
    size: int | None = None,
    version: int | None = None,
) -> bytes:
    """Returns the bytes of a file, retrying after transient errors.

    The store layer retries on its own.

    Args:
        path: Path of the file.
        offset: Byte offset of the first byte to read.
        at_most: Largest number of bytes to read. A negative number reads to the end.
        size: Expected size of the whole file in bytes, or None to skip the check.
            Checked for local files only.
        version: Expected version, as returned by `status_of`, or None to skip the
            check.

    Raises:
        OSError: The file cannot be read or has changed (`ESTALE`). Callers must not
            turn the error into a `Reject`, because it is not caused by the bytes.
    """
    store, text = _store(path)
    if store is not None:
        return store.read(text, offset, at_most, version)
    return _patiently(lambda: local.read(path, offset, at_most, size, version))


def read_if_exists(path: _Path) -> bytes | None:
    """Returns the bytes of a file, or None if it does not exist."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def read_files(paths: Iterable[str]) -> Iterator[bytes | None]:
    """Yields the bytes of many small files, in order. None for a missing file."""
    paths = list(paths)
    if not paths or not is_remote(paths[0]):
        yield from map(read_if_exists, paths)
        return
    yield from request_pool().map(read_if_exists, paths)


@functools.cache
def request_pool() -> ThreadPoolExecutor:
    """Returns the thread pool for requests."""
    return ThreadPoolExecutor(REQUESTS, thread_name_prefix="requests")


def _patiently(action: Callable[[], _T]) -> _T:
    for seconds in _RETRY_AFTER_SECONDS:
        try:
            return action()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError as error:
            if error.errno in _NOT_WORTH_RETRYING:
                raise
            time.sleep(seconds)
    return action()


def open_file(path: _Path) -> IO[bytes]:
    """Opens a file for reading and seeking."""
    store, text = _store(path)
    if store is None:
        return open(path, "rb")
    return open_object(store, text)


def crc32c_of(path: str) -> str | None:
    """Returns the CRC-32C of a file in hex, as stored in the manifest.

    Returns:
        Eight hex digits. None if the file does not exist or its disk can no longer read
        it (`EIO`).
    """
    checksum = 0
    try:
        with open_file(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                checksum = google_crc32c.extend(checksum, chunk)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.EIO or is_remote(path):
            raise
        return None
    return f"{checksum:08x}"


def status_of(path: _Path) -> Status:
    """Returns the size and version of a file without reading it.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    store, text = _store(path)
    if store is not None:
        return store.stat(text)
    status = os.stat(path)
    return Status(status.st_size, status.st_mtime_ns)


def is_file(path: _Path) -> bool:
    """Returns whether a regular file exists at a path."""
    if not is_remote(path):
        return os.path.isfile(path)
    try:
        status_of(path)
    except FileNotFoundError:
        return False
    return True


def is_folder(path: _Path) -> bool:
    """Returns whether a folder exists.

    In a bucket, a folder exists if it contains an object.
    """
    if not is_remote(path):
        return os.path.isdir(path)
    return any(True for _ in scan(path, deep=True))


def scan(folder: _Path, *, deep: bool = False, after: str = "") -> Iterator[Listed]:
    """Yields the entries of a folder, or nothing if it does not exist.

    Args:
        folder: Path of the folder.
        deep: Whether to list files at any depth, named by their paths relative to
            `folder`, and no folders. By default, lists the direct entries of the
            folder, including folders.
        after: Name after which a deep list of a bucket begins.
    """
    store, text = _store(folder)
    if store is None:
        yield from local.scan(text, deep=deep)
        return
    with contextlib.suppress(FileNotFoundError):
        yield from store.scan(text, deep=deep, after=after)


def names_in(folder: _Path) -> list[str]:
    """Returns the names of the files in a folder, sorted."""
    if not is_remote(folder):
        return local.names_in(folder)
    return sorted(listed.name for listed in scan(folder) if listed.status is not None)


def inspect_each(
    look: Callable[[_In], _T], items: Iterable[_In], *, remote: bool
) -> Iterator[_T]:
    """Yields `look(item)` for each item, in order; concurrently if they are remote."""
    if not remote:
        yield from map(look, items)
    else:
        yield from map_in_order(look, items, request_pool(), 4 * REQUESTS)


@contextlib.contextmanager
def publish(
    path: str, temporary_dir: str, *, durable: bool = True
) -> Iterator[IO[bytes]]:
    """Opens a file that appears at `path` only when the block ends.

    If the block raises, the unfinished file is deleted.

    Args:
        path: Path of the finished file.
        temporary_dir: Folder of the unfinished file, on the same file system as `path`.
            A file for a bucket is written to the system's temporary folder instead.
        durable: Whether a local file must survive a power failure once published. Files
            that the next attempt can write again do not need it.
    """
    store, _ = _store(path)
    if store is None:
        with local.publish(path, temporary_dir, durable=durable) as file:
            yield file
        return
    with tempfile.TemporaryFile(prefix="diptych-") as file:
        yield file
        file.flush()
        store.put(path, file)


def publish_bytes(
    path: str, data: bytes, temporary_dir: str, *, durable: bool = True
) -> None:
    """Writes a file that appears at `path` only when complete: see `publish`."""
    store, _ = _store(path)
    if store is not None:
        store.put(path, io.BytesIO(data))
        return
    with local.publish(path, temporary_dir, durable=durable) as file:
        file.write(data)


def publish_new(address: str, data: bytes) -> bool:
    """Creates an object unless it exists. Returns whether it was created."""
    store, _ = _store(address)
    assert store is not None, address
    return store.put_new(address, data)


def make_folder(path: str) -> None:
    """Creates a local folder. Does nothing in a bucket, which has no folders."""
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def move_folder(source: str, target: str) -> None:
    """Moves a folder, replacing an existing one."""
    delete_folder(target)
    store, _ = _store(source)
    if store is None:
        os.rename(source, target)
        return

    def copy(name: str) -> None:
        store.put(f"{target}/{name}", io.BytesIO(read_file(f"{source}/{name}")))

    names = [listed.name for listed in scan(source, deep=True)]
    list(request_pool().map(copy, names))
    delete_folder(source)


def move_file(source: str, target: str) -> None:
    """Moves a file, replacing an existing one. The moved file survives a crash."""
    store, _ = _store(source)
    if store is None:
        local.move(source, target)
        return
    with open_file(source) as file:
        store.put(target, file)
    delete_file(source)


def delete_file(path: str) -> None:
    """Deletes a file. A missing file is not an error."""
    store, _ = _store(path)
    if store is not None:
        store.delete(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def delete_folder(path: str) -> None:
    """Deletes a folder and its contents. A missing folder is not an error."""
    store, _ = _store(path)
    if store is None:
        shutil.rmtree(path, ignore_errors=True)
        return
    names = [f"{path}/{listed.name}" for listed in scan(path, deep=True)]
    list(request_pool().map(delete_file, names))
