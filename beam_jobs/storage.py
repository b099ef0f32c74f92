"""Files: read with patience, published whole or not at all."""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

_T = TypeVar("_T")

# A network file system may hiccup; a disk that is gone stays gone.
_RETRY_AFTER_SECONDS = (0.1, 0.5)


def read_file(path: str | bytes, *, at_most: int = -1) -> bytes:
    """Returns a file's bytes; tries again where trying again may help.

    Args:
        path: Of the file.
        at_most: Reads no more bytes than these.

    Raises:
        OSError: It cannot be read. This never becomes a `Reject`: it says nothing of
            the bytes.
    """

    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(at_most)

    return _patiently(read)


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
def publish(path: str, temporary_dir: str) -> Iterator[IO[bytes]]:
    """Opens a file that appears at `path` once it is complete and on the disk.

    Until then it lies in `temporary_dir`, which must be on the same file system. If the
    block raises, nothing is left behind.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.makedirs(temporary_dir, exist_ok=True)
    # A name of its own keeps two attempts at the same file apart.
    temporary = os.path.join(temporary_dir, uuid.uuid4().hex)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def publish_bytes(path: str, data: bytes, temporary_dir: str) -> None:
    """Writes a file that appears at `path` only when it is complete."""
    with publish(path, temporary_dir) as file:
        file.write(data)
