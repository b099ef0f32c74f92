"""What an object store does, whatever its vendor, and the addresses of objects."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, Protocol

from reader.contract.errors import UsageError

SCHEMES = ("gs", "s3", "az")

# Message of `OSError` with `ESTALE`, for local files too.
CHANGED = "Changed since it was listed or opened"


class Status(NamedTuple):
    """The size and version of a file.

    Attributes:
        size: Size of the file in bytes.
        version: Number that differs if the file has changed: the time of the last
            change in nanoseconds, or a digest of an object's ETag.
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


class ObjectStore(Protocol):
    """An object store whose paths are `scheme://bucket/name`.

    Threads may share a store, and forked processes too. Requests that fail for a while
    (5xx, 429, resets, timeouts, truncated answers) are tried again with backoff, and
    counted in `reader.object_stores.counts`. Every method raises `OSError` on failure,
    including its subclasses `FileNotFoundError` and `PermissionError`.
    """

    def stat(self, path: str) -> Status:
        """Returns the size and version of an object."""

    def read(
        self, path: str, offset: int = 0, size: int = -1, version: int | None = None
    ) -> bytes:
        """Returns the bytes of an object, fewer than `size` at its end.

        Args:
            path: Address of the object.
            offset: Byte offset of the first byte to read.
            size: Largest number of bytes to read. A negative number reads to the end.
            version: Expected version, or None to skip the check.

        Raises:
            OSError: The object has another version (`ESTALE`).
        """

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Returns byte ranges of an object, requested at the same time.

        Each range is one request: callers merge ranges. No range is empty.

        Raises:
            OSError: A range cannot be read, or the object ends before it (`EIO`).
        """

    def scan(self, folder: str, *, deep: bool, after: str = "") -> Iterator[Listed]:
        """Yields a folder's entries; with `deep`, all files below and no folders.

        Args:
            folder: Address of the folder.
            deep: Whether to list files at any depth.
            after: Name that the list of files at any depth begins after.
        """

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


def split_path(path: str) -> tuple[str, str]:
    """Splits an address into the bucket and the name of the object.

    >>> split_path("gs://bucket/a/b.jpg")
    ('bucket', 'a/b.jpg')
    """
    bucket, _, name = path.partition("://")[2].partition("/")
    return bucket, name


def check_address(
    path: str, *, what: str = "an address", schemes: Sequence[str] = SCHEMES
) -> None:
    """Checks that an address names a bucket. A local path passes.

    Args:
        path: Address or local path.
        what: Noun for the address, for the message.
        schemes: Schemes of addresses.

    Raises:
        UsageError: A slash or the bucket is missing.
    """
    scheme = path.partition(":")[0]
    begin = f"{scheme}://{'CONTAINER' if scheme == 'az' else 'BUCKET'}/…"
    if re.match(rf"({'|'.join(schemes)}):/?[^/]", path):
        raise UsageError(f"{what} needs two slashes: {begin}, got {path}")
    if scheme_of(path) in schemes and not split_path(path)[0]:
        raise UsageError(f"{what} must name a bucket: {begin}, got {path}")


def version_of(tag: str) -> int:
    """Returns the version of an object, a digest of 63 bits of its ETag or the like."""
    return int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=8).digest()) >> 1
