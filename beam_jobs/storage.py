"""Files: read with patience, published whole or not at all."""

import contextlib
import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

_T = TypeVar("_T")

# A network file system may hiccup; a disk that is gone stays gone.
_RETRY_AFTER_SECONDS = (0.1, 0.5)


def read_file(
    path: str | bytes,
    *,
    offset: int = 0,
    at_most: int = -1,
    check: Callable[[os.stat_result], None] | None = None,
) -> bytes:
    """Returns a file's bytes; tries again where trying again may help.

    Args:
        path: Of the file.
        offset: Where to begin, in bytes.
        at_most: Reads no more bytes than these.
        check: Is shown the open file's status first, and may raise.

    Raises:
        OSError: It cannot be read. This never becomes a `Reject`: it says nothing of
            the bytes.
    """

    def read() -> bytes:
        # Unbuffered: captions are small, and a buffer costs as much as reading one.
        with open(path, "rb", buffering=0) as file:
            if check is not None:
                check(os.fstat(file.fileno()))
            if offset:
                file.seek(offset)
            return file.readall() if at_most < 0 else _read_up_to(file, at_most)

    return _patiently(read)


def _read_up_to(file: io.FileIO, size: int) -> bytes:
    """Returns `size` bytes, or fewer at the file's end: one read may give fewer too."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _patiently(action: Callable[[], _T]) -> _T:
    for seconds in _RETRY_AFTER_SECONDS:
        try:
            return action()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            time.sleep(seconds)
    return action()


@contextlib.contextmanager
def publish(
    path: str, temporary_dir: str, *, durable: bool = True
) -> Iterator[IO[bytes]]:
    """Opens a file that appears at `path` once it is complete.

    Until then it lies in `temporary_dir`, which must be on the same file system. If the
    block raises, nothing is left behind. A durable file survives a power cut from then
    on; one that the next attempt makes again need not.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.makedirs(temporary_dir, exist_ok=True)
    # A name of its own keeps two attempts at the same file apart.
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


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish_bytes(
    path: str, data: bytes, temporary_dir: str, *, durable: bool = True
) -> None:
    """Writes a file that appears at `path` only when it is complete."""
    with publish(path, temporary_dir, durable=durable) as file:
        file.write(data)
