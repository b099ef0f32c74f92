"""Files, here or in a bucket: read with patience, published whole or not at all.

A path is one of this machine, or an address such as `gs://bucket/name`. Everything that
the job reads or writes goes through here, so that a dataset in a bucket is made by the
same steps as one on a disk.
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
from beam_jobs.storage.object_store import Listed, Status, Store, buffered, scheme_of
from beam_jobs.storage.parallel import map_in_order
from reader.contract.errors import UsageError

_In = TypeVar("_In")
_T = TypeVar("_T")
_Path = str | bytes

# A network file system may hiccup; a disk that is gone stays gone.
_RETRY_AFTER_SECONDS = (0.1, 0.5)
_NOT_WORTH_RETRYING = (errno.ESTALE, errno.ENOSPC, errno.EDQUOT)

_CHUNK_BYTES = 8 << 20

# Requests under way at once, where many small objects are read or deleted.
REQUESTS = 16


def is_remote(path: _Path) -> bool:
    """Tells whether a path is an address in a bucket."""
    return scheme_of(os.fsdecode(path)) is not None


def absolute(path: AnyStr) -> AnyStr:
    """Returns a path that means the same in any folder."""
    if not is_remote(path):
        return os.path.abspath(path)
    text = os.fsdecode(path).rstrip("/")
    return text if isinstance(path, str) else os.fsencode(text)


def _store(path: _Path) -> tuple[Store | None, str]:
    """Returns the store of a path as text; None for this machine's files."""
    text = os.fsdecode(path)
    scheme = scheme_of(text)
    return (None if scheme is None else store_of(scheme)), text


def read_file(
    path: _Path,
    *,
    offset: int = 0,
    at_most: int = -1,
    size: int | None = None,
    version: int | None = None,
) -> bytes:
    """Returns a file's bytes; tries again where trying again may help.

    So do the clients of stores, by themselves.

    Args:
        path: Of the file.
        offset: Where to begin, in bytes.
        at_most: Reads no more bytes than these.
        size: Of the whole file, if it must still have that one.
        version: Likewise, as `status_of` gives it.

    Raises:
        OSError: It cannot be read, or has changed (`ESTALE`). This never becomes a
            `Reject`: it says nothing of the bytes.
    """
    store, text = _store(path)
    if store is not None:
        return store.read(text, offset, at_most, version)
    return _patiently(lambda: local.read(path, offset, at_most, size, version))


def read_if_exists(path: _Path) -> bytes | None:
    """Returns a file's bytes, or None where there is none."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def read_files(paths: Iterable[str]) -> Iterator[bytes | None]:
    """Yields the bytes of many small files, in order; None where there is none."""
    paths = list(paths)
    if not paths or not is_remote(paths[0]):
        yield from map(read_if_exists, paths)
        return
    yield from _requests().map(read_if_exists, paths)


@functools.cache
def _requests() -> ThreadPoolExecutor:
    """Returns the threads that wait for answers; each keeps its connection."""
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
    """Opens a file to be read and searched."""
    store, text = _store(path)
    if store is None:
        return open(path, "rb")
    status = store.stat(text)

    def fetch(offset: int, size: int) -> bytes:
        return read_file(text, offset=offset, at_most=size, version=status.version)

    return buffered(fetch, status.size)


def crc32c_of(path: str) -> str | None:
    """Returns the CRC-32C of a file as the manifest has it; None if it has none.

    So it is where there is no such file, and where the disk cannot read it any more.
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
    """Returns what is known of a file without reading it.

    Raises:
        FileNotFoundError: There is none.
    """
    store, text = _store(path)
    if store is not None:
        return store.stat(text)
    status = os.stat(path)
    return Status(status.st_size, status.st_mtime_ns)


def is_file(path: _Path) -> bool:
    """Tells whether there is a regular file."""
    if not is_remote(path):
        return os.path.isfile(path)
    try:
        status_of(path)
    except FileNotFoundError:
        return False
    return True


def is_folder(path: _Path) -> bool:
    """Tells whether there is a folder; in a bucket, whether anything lies below it."""
    if not is_remote(path):
        return os.path.isdir(path)
    return any(True for _ in scan(path, deep=True))


def scan(folder: _Path, *, deep: bool = False) -> Iterator[Listed]:
    """Yields what lies in a folder; of one that is not there, nothing.

    With `deep` come the files below it too, named by their paths, and no folders.
    """
    store, text = _store(folder)
    if store is None:
        yield from local.scan(text, deep=deep)
        return
    with contextlib.suppress(FileNotFoundError):
        yield from store.scan(text, deep=deep)


def names_in(folder: _Path) -> list[str]:
    """Returns the names of the files in a folder, sorted."""
    if not is_remote(folder):
        return local.names_in(folder)
    return sorted(listed.name for listed in scan(folder) if listed.status is not None)


def inspect_each(
    look: Callable[[_In], _T], items: Iterable[_In], *, remote: bool
) -> Iterator[_T]:
    """Yields `look(item)` for each item, in order; many at once if they are remote."""
    if not remote:
        yield from map(look, items)
    else:
        yield from map_in_order(look, items, _requests(), 4 * REQUESTS)


@contextlib.contextmanager
def publish(
    path: str, temporary_dir: str, *, durable: bool = True
) -> Iterator[IO[bytes]]:
    """Opens a file that appears at `path` once it is complete.

    Until then it lies in `temporary_dir`, which must be on the same file system; what
    is to go into a bucket lies in this machine's folder for such files. If the block
    raises, nothing is left behind. A durable file survives a power cut from then on;
    one that the next attempt makes again need not.
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
    """Writes a file that appears at `path` only when it is complete."""
    store, _ = _store(path)
    if store is not None:
        store.put(path, io.BytesIO(data))
        return
    with local.publish(path, temporary_dir, durable=durable) as file:
        file.write(data)


def publish_new(address: str, data: bytes) -> bool:
    """Makes an object of a bucket if there is none; returns whether it did."""
    return store_of(scheme_of(address) or "").put_new(address, data)


def make_folder(path: str) -> None:
    """Makes a folder, where folders are made."""
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def move_folder(source: str, target: str) -> None:
    """Moves a folder, in place of what is there."""
    delete_folder(target)
    store, _ = _store(source)
    if store is None:
        os.rename(source, target)
        return

    def copy(name: str) -> None:
        store.put(f"{target}/{name}", io.BytesIO(read_file(f"{source}/{name}")))

    names = [listed.name for listed in scan(source, deep=True)]
    list(_requests().map(copy, names))
    delete_folder(source)


def move_file(source: str, target: str) -> None:
    """Moves a file, in place of what is there; one that was moved survives a crash."""
    store, _ = _store(source)
    if store is None:
        local.move(source, target)
        return
    with open_file(source) as file:
        store.put(target, file)
    delete_file(source)


def delete_file(path: str) -> None:
    """Deletes a file; one that is not there is no error."""
    store, _ = _store(path)
    if store is not None:
        store.delete(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def delete_folder(path: str) -> None:
    """Deletes a folder and all in it; one that is not there is no error."""
    store, _ = _store(path)
    if store is None:
        shutil.rmtree(path, ignore_errors=True)
        return
    names = [f"{path}/{listed.name}" for listed in scan(path, deep=True)]
    list(_requests().map(delete_file, names))


_EXTRAS = {"gs": "gcp", "s3": "aws"}


@functools.cache
def store_of(scheme: str) -> Store:
    """Returns the store that a scheme names.

    Raises:
        UsageError: There is none of that name, or its library is not installed.
    """
    try:
        if scheme == "gs":
            from beam_jobs.storage.gcs import GcsStore

            return GcsStore()
        if scheme == "s3":
            from beam_jobs.storage.s3 import S3Store

            return S3Store()
    except ImportError as error:
        raise UsageError(
            f"{scheme}:// needs {error.name}, which is not installed: "
            f"pip install 'diptych[{_EXTRAS[scheme]}]'"
        ) from error
    raise UsageError(f"{scheme}:// is not read here: only gs:// and s3:// are")
