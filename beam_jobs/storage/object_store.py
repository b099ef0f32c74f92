"""What a store of objects is, and how objects are addressed."""

import errno
import io
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, Protocol

SCHEMES = ("gs", "s3")

# What `ESTALE` says.
CHANGED = "Changed while the job was running"


class Status(NamedTuple):
    """What is known of a file without reading it.

    Attributes:
        size: In bytes.
        version: Differs when the file has changed: the time of its last change in
            nanoseconds, or an object's generation.
    """

    size: int
    version: int


class Listed(NamedTuple):
    """A name in a folder.

    Attributes:
        name: Below the folder that was listed.
        status: Of a file; None for a folder in it.
    """

    name: str
    status: Status | None


class Store(Protocol):
    """A store; every path is `scheme://bucket/name`.

    Every method raises `OSError`: `FileNotFoundError` and `PermissionError` where that
    is what it is.
    """

    def stat(self, path: str) -> Status:
        """Returns what is known of an object."""

    def read(self, path: str, offset: int, size: int, version: int | None) -> bytes:
        """Returns the bytes from `offset` on, at most `size` of them if not negative.

        Raises:
            OSError: `ESTALE`: the object is no longer of that version.
        """

    def scan(self, folder: str, *, deep: bool) -> Iterator[Listed]:
        """Yields what lies in a folder; with `deep`, files below it and no folders."""

    def put(self, path: str, file: IO[bytes]) -> None:
        """Makes an object of a file, which is read from its beginning."""

    def put_new(self, path: str, data: bytes) -> bool:
        """Makes an object if there is none; returns whether it did."""

    def delete(self, path: str) -> None:
        """Deletes an object; one that is not there is no error."""


def scheme_of(path: str) -> str | None:
    """Returns `gs` of `gs://bucket/name`; None for a path of this machine."""
    scheme, found, _ = path.partition("://")
    return scheme if found else None


def plain_name(name: str, folder: str) -> str:
    """Returns a name below a folder, if it can be joined to the folder again.

    Raises:
        OSError: It cannot: there are two slashes in a row, or one at its beginning.
    """
    if name.startswith("/") or "//" in name or not name:
        raise OSError(
            errno.EINVAL,
            "Two slashes in a row in a name are not read: rename it or delete it",
            f"{folder.rstrip('/')}/{name}",
        )
    return name


def split_path(path: str) -> tuple[str, str]:
    """Returns the bucket and the name of an object.

    >>> split_path("gs://bucket/a/b.jpg")
    ('bucket', 'a/b.jpg')
    """
    bucket, _, name = path.partition("://")[2].partition("/")
    return bucket, name


# One request brings so many bytes: a tar's headers are among its members, and a table
# is read from end to end.
_BUFFER_BYTES = 8 << 20


class RangeFile(io.RawIOBase):
    """A file whose ranges are fetched as they are asked for."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        """Takes `fetch(offset, size)`, and how many bytes there are."""
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}
        place = begin[whence] + offset
        if place < 0:
            raise ValueError(f"byte {place} is before the file")
        self._place = place
        return place

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fetches as much as there is room for."""
        size = min(len(buffer), max(0, self._size - self._place))
        data = self._fetch(self._place, size) if size else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def buffered(fetch: Callable[[int, int], bytes], size: int) -> io.BufferedReader:
    """Returns such a file with a buffer."""
    return io.BufferedReader(RangeFile(fetch, size), _BUFFER_BYTES)
