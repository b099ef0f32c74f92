"""Stores that forked processes may use: obstore hangs in a child forked after its use.

Such a child has a helper process make its requests, and starts it when it first asks.
The helper ends when the child does.
"""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Protocol

from reader.object_stores.protocol import Listed, ObjectStore, Status
from reader.object_stores.vendors.options import StoreOptions
from reader.object_stores.vendors.vendors import connector


class _ProcessStore(ObjectStore, Protocol):
    """A store that only one process may use.

    Attributes:
        has_ended: Whether another store has to take its place.
    """

    has_ended: bool

    def leave(self) -> None:
        """Lets go of it in a forked child."""


class ForkSafeStore:
    """An `ObjectStore` that may be kept across forks, and pickled."""

    def __init__(self, scheme: str, options: StoreOptions) -> None:
        """Finds the credentials; connects at the first request.

        Raises:
            UsageError: A library is not installed, or a setting is missing.
        """
        self._scheme, self._options = scheme, options
        self._lock = threading.Lock()
        # Settings are checked here, but a helper starts only when it is needed.
        self._made: _ProcessStore | None = None if _used.by_parent else self._new()
        _used.stores.add(self)

    def __reduce__(self) -> tuple[type["ForkSafeStore"], tuple[str, StoreOptions]]:
        """Returns what makes the store again in another process."""
        return ForkSafeStore, (self._scheme, self._options)

    def stat(self, path: str) -> Status:
        """Returns the size and version of an object."""
        return self._store().stat(path)

    def read(
        self, path: str, offset: int = 0, size: int = -1, version: int | None = None
    ) -> bytes:
        """Returns the bytes of an object."""
        return self._store().read(path, offset, size, version)

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Returns byte ranges of an object."""
        return self._store().read_ranges(path, begins, ends)

    def scan(self, folder: str, *, deep: bool, after: str = "") -> Iterator[Listed]:
        """Yields the entries of a folder."""
        return self._store().scan(folder, deep=deep, after=after)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file."""
        self._store().put(path, file)

    def put_new(self, path: str, data: bytes) -> bool:
        """Creates an object unless it exists."""
        return self._store().put_new(path, data)

    def delete(self, path: str) -> None:
        """Deletes an object."""
        self._store().delete(path)

    def _store(self) -> ObjectStore:
        _used.here = True
        with self._lock:
            if self._made is None or self._made.has_ended:
                self._made = self._new()
            return self._made

    def _new(self) -> _ProcessStore:
        if _used.by_parent:
            from reader.object_stores.helped import HelpedStore

            return HelpedStore(self._scheme, self._options)
        connect = connector(self._scheme, self._options)  # Checks what is installed.
        from reader.object_stores.client import Client

        return Client(connect)

    def after_fork(self) -> None:
        """Forgets what only the parent may use."""
        self._lock = threading.Lock()
        if self._made is not None:
            self._made.leave()
        self._made = None


class _Used:
    """What this process and its parents have used.

    Attributes:
        here: Whether this process has made a request.
        by_parent: Whether a parent had made one when it forked this process.
        stores: Stores of this process.
    """

    def __init__(self) -> None:
        self.here = self.by_parent = False
        self.stores: weakref.WeakSet[ForkSafeStore] = weakref.WeakSet()

    def after_fork(self) -> None:
        self.by_parent |= self.here
        for store in list(self.stores):
            store.after_fork()


_used = _Used()
os.register_at_fork(after_in_child=_used.after_fork)
