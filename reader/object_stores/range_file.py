"""Objects as files that are read in ranges."""

import io
import os
from collections.abc import Callable
from typing import BinaryIO, cast

from reader.object_stores.protocol import ObjectStore

# Bytes in each request. Large, because tars and tables are read from end to end: the
# headers of a tar are between its members.
_BUFFER_BYTES = 8 << 20


class RangeFile(io.RawIOBase):
    """A read-only file that fetches byte ranges on demand."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        """Makes a file of `size` bytes from a function `fetch(offset, size)`."""
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the current byte offset."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the current byte offset."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        position = begin[whence] + offset
        if position < 0:
            raise ValueError(f"byte offset {position} is before the start of the file")
        self._position = position
        return position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fetches bytes into a buffer and returns their number."""
        size = min(len(buffer), max(0, self._size - self._position))
        data = self._fetch(self._position, size) if size else b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def buffered(fetch: Callable[[int, int], bytes], size: int) -> io.BufferedReader:
    """Returns a `RangeFile` with a read buffer of 8 MiB."""
    return io.BufferedReader(RangeFile(fetch, size), _BUFFER_BYTES)


def open_object(store: ObjectStore, path: str, *, exact: bool = False) -> BinaryIO:
    """Opens an object for reading and seeking.

    Args:
        store: Store of the object.
        path: Address of the object.
        exact: Whether to request just the bytes that are read, and not 8 MiB.

    Raises:
        FileNotFoundError: The object does not exist.
        OSError: The object cannot be read; later, it was replaced meanwhile (`ESTALE`).
    """
    status = store.stat(path)

    def fetch(offset: int, size: int) -> bytes:
        return store.read(path, offset, size, status.version)

    opened = (RangeFile if exact else buffered)(fetch, status.size)
    return cast(BinaryIO, opened)
