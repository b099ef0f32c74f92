"""Reads local files in one call and publishes them with an atomic rename."""

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Iterator
from typing import IO

from reader.object_stores.protocol import CHANGED, Listed, Status


def read(
    path: str | bytes, offset: int, at_most: int, size: int | None, version: int | None
) -> bytes:
    """Returns the bytes of a file: see `beam_jobs.storage.files.read_file`."""
    # Unbuffered: captions are small, and a buffer costs as much as the read itself.
    with open(path, "rb", buffering=0) as file:
        if size is not None or version is not None:
            _check_unchanged(file, path, size, version)
        if offset:
            file.seek(offset)
        return file.readall() if at_most < 0 else _read_up_to(file, at_most)


def _check_unchanged(
    file: io.FileIO, path: str | bytes, size: int | None, version: int | None
) -> None:
    """Raises `ESTALE` if a file has changed.

    A vocabulary, fingerprint or size computed from the earlier file would be wrong.
    """
    status = os.fstat(file.fileno())
    if size not in (None, status.st_size) or version not in (None, status.st_mtime_ns):
        raise OSError(errno.ESTALE, CHANGED, path)


def _read_up_to(file: io.FileIO, size: int) -> bytes:
    """Returns `size` bytes, or fewer at the end. A single read may return fewer."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def scan(folder: str, *, deep: bool) -> Iterator[Listed]:
    """Yields the entries of a folder: see `beam_jobs.storage.files.scan`."""
    with contextlib.ExitStack() as stack:
        try:
            entries = stack.enter_context(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if not entry.is_dir():
                yield Listed(entry.name, _status_of(entry))
            elif not deep:
                yield Listed(entry.name, None)
            else:
                for below in scan(entry.path, deep=True):
                    yield below._replace(name=f"{entry.name}/{below.name}")


def _status_of(entry: os.DirEntry[str]) -> Status:
    try:
        status = entry.stat()
    except FileNotFoundError:  # A broken link, or deleted since: it is still listed.
        return Status(0, 0)
    return Status(status.st_size, status.st_mtime_ns)


def names_in(folder: str | bytes) -> list[str]:
    """Returns sorted names of files in a folder. A missing folder has no names."""
    try:
        with os.scandir(os.fsdecode(folder)) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def publish(path: str, temporary_dir: str, *, durable: bool) -> Iterator[IO[bytes]]:
    """Opens a file that is renamed when complete: see `storage.files.publish`."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.makedirs(temporary_dir, exist_ok=True)
    # A unique name keeps concurrent attempts at the same file apart.
    temporary = os.path.join(temporary_dir, uuid.uuid4().hex)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _sync_folder(os.path.dirname(path))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def move(source: str, target: str) -> None:
    """Renames a file, replacing an existing one: see `storage.files.move_file`."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.replace(source, target)
    _sync_folder(os.path.dirname(target))


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
