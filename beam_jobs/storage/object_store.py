"""The protocol of object stores and the addresses of objects."""

import errno
import io
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, Protocol

SCHEMES = ("gs", "s3")

# Message of `OSError` with `ESTALE`.
CHANGED = "Changed while the job was running"


class Status(NamedTuple):
    """The size and version of a file.

    Attributes:
        size: Size of the file in bytes.
        version: Number that differs if the file has changed: the time of the last
            change in nanoseconds, or the generation of an object.
    """

    size: int
    version: int


class Listed(NamedTuple):
    """An entry of a folder.

    Attributes:
        name: Path of the entry relative to the listed folder.
        status: Size and version of a file. None for a folder.
    """

    name: str
    status: Status | None


class Store(Protocol):
    """An object store whose paths are `scheme://bucket/name`.

    Every method raises `OSError` on failure, including its subclasses
    `FileNotFoundError` and `PermissionError`.
    """

    def stat(self, path: str) -> Status:
        """Returns the size and version of an object."""

    def read(self, path: str, offset: int, size: int, version: int | None) -> bytes:
        """Returns the bytes of an object.

        Args:
            path: Address of the object.
            offset: Byte offset of the first byte to read.
            size: Largest number of bytes to read. A negative number reads to the end.
            version: Expected version, or None to skip the check.

        Raises:
            OSError: The object has another version (`ESTALE`).
        """

    def scan(self, folder: str, *, deep: bool) -> Iterator[Listed]:
        """Yields a folder's entries; with `deep`, all files below and no folders."""

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file, read from its beginning, and replaces an existing object."""

    def put_new(self, path: str, data: bytes) -> bool:
        """Creates an object unless it exists. Returns whether it was created."""

    def delete(self, path: str) -> None:
        """Deletes an object. A missing object is not an error."""


def scheme_of(path: str) -> str | None:
    """Returns the scheme of an address, such as `gs`; None for a local path."""
    scheme, found, _ = path.partition("://")
    return scheme if found else None


def plain_name(name: str, folder: str) -> str:
    """Returns the name of an object in a folder unchanged after checking it.

    Raises:
        OSError: The name is empty, begins with a slash or has two slashes in a row.
            Such a name cannot be joined to its folder.
    """
    if name.startswith("/") or "//" in name or not name:
        raise OSError(
            errno.EINVAL,
            "Names with two slashes in a row are not supported: rename or delete it",
            f"{folder.rstrip('/')}/{name}",
        )
    return name


def split_path(path: str) -> tuple[str, str]:
    """Splits an address into the bucket and the name of the object.

    >>> split_path("gs://bucket/a/b.jpg")
    ('bucket', 'a/b.jpg')
    """
    bucket, _, name = path.partition("://")[2].partition("/")
    return bucket, name


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

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets the current byte offset."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
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
