"""Processes that use a cache, and which of them are alive.

Each holds the lock of a file of its own. The kernel releases the lock of a killed
process, also of one in another container, where its process id would say nothing.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator

with contextlib.suppress(ModuleNotFoundError):  # Windows can read, but not cache.
    import fcntl


def lock(file: int) -> None:
    """Takes the lock of an open file; waits for it. Closing the file releases it."""
    fcntl.flock(file, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Holds the lock of a file while the block runs; waits for it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(file)
        yield
    finally:
        os.close(file)


class User:
    """This process as a user of a cache.

    Attributes:
        name: Unique name.
    """

    def __init__(self, folder: str) -> None:
        """Creates the file and locks it.

        Args:
            folder: Folder of the files of all users.
        """
        self.name = uuid.uuid4().hex
        self._path = os.path.join(folder, self.name)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        lock(self._file)

    def leave(self) -> None:
        """Deletes the file and releases its lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._file)

    def forget(self) -> None:
        """Closes the file in a forked process; its parent keeps using the cache."""
        os.close(self._file)


def alive_in(folder: str) -> set[str]:
    """Returns the names of the users that are alive; deletes the other files."""
    alive = set()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):  # It leaves just now.
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            except BlockingIOError:
                alive.add(name)
            finally:
                os.close(file)
    return alive
