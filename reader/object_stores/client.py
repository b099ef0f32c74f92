"""Requests to the objects of one account, through obstore. START HERE.

`connect` of the vendors' modules makes the clients of buckets; this module says what is
asked, `retries` how often, and `failures` what an answer means.
"""

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError

from reader.contract.errors import UsageError
from reader.object_stores.failures import ShortAnswerError, is_out_of_range
from reader.object_stores.protocol import (
    CHANGED,
    Listed,
    Status,
    split_path,
    version_of,
)
from reader.object_stores.request_threads import call, call_all
from reader.object_stores.retries import Retries
from reader.object_stores.vendors.bucket import Bucket

_T = TypeVar("_T")

# Azure has containers such as `$web`. obstore panics at some other characters.
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")

# Names in a message from Rust.
_NAMES_AT_A_TIME = 1000

# Bytes in a request. The timeout of requests allows for slow lines.
_READ_BYTES = 16 << 20

# A larger file is uploaded in parts, four at a time; a store takes 10,000 parts.
_PART_BYTES = 8 << 20
_PARTS_AT_A_TIME = 4
_MOST_PARTS = 10_000


class Client:
    """An `ObjectStore` for one scheme; for one process, and not after a fork.

    Attributes:
        has_ended: False.
    """

    has_ended = False

    def __init__(self, connect: Callable[[str], Bucket]) -> None:
        """Takes a function from the name of a bucket to its clients."""
        self._connect = connect
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()
        self._retries = Retries()

    def stat(self, path: str) -> Status:
        """Asks for the headers of an object."""
        bucket, name = self._place(path)
        meta = self._ask(lambda: obstore.head(bucket.store, name), path)
        return Status(meta["size"], _version_of(meta))

    def read(
        self, path: str, offset: int = 0, size: int = -1, version: int | None = None
    ) -> bytes:
        """Reads a byte range, a large one piece by piece."""
        pieces: list[bytes] = []
        done = False
        while not done and size != 0:
            num = _READ_BYTES if size < 0 else min(size, _READ_BYTES)
            data, version, done = self._read_piece(path, offset, num, version)
            pieces.append(data)
            offset, size = offset + len(data), size if size < 0 else size - len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_piece(
        self, path: str, offset: int, size: int, version: int | None
    ) -> tuple[bytes, int | None, bool]:
        """Returns bytes, the version, and whether the object ends with them."""
        bucket, name = self._place(path)

        def get() -> tuple[bytes, int | None, bool]:
            try:
                found = obstore.get(
                    bucket.store, name, options={"range": (offset, offset + size)}
                )
            except Exception as error:
                if is_out_of_range(error):
                    return b"", version, True
                raise
            stored = _version_of(found.meta)
            if version not in (None, stored):
                raise OSError(errno.ESTALE, CHANGED, path)
            end = min(found.meta["size"], offset + size)
            data = bytes(_whole(found.bytes(), end - offset))
            return data, stored, end == found.meta["size"]

        return self._ask(get, path, lambda got: len(got[0]))

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Reads ranges in as many requests, at the same time."""
        bucket, name = self._place(path)

        def read_range(one: tuple[int, int]) -> memoryview:
            begin, end = one

            def get() -> memoryview:
                try:
                    data: Any = obstore.get_range(
                        bucket.store, name, start=begin, end=end
                    )
                except Exception as error:
                    if not is_out_of_range(error):
                        raise
                    data = b""
                if len(data) < end - begin:
                    size = obstore.head(bucket.store, name)["size"]
                    if size < end:
                        ends = f"The object ends at byte {size}, before byte {end}"
                        raise OSError(errno.EIO, ends, path)
                return memoryview(_whole(data, end - begin))

            return self._retries.run(get, path, len, f"bytes {begin} to {end}")

        return call_all(read_range, list(zip(begins, ends, strict=True)))

    def scan(self, folder: str, *, deep: bool, after: str = "") -> Iterator[Listed]:
        """Lists objects by prefix, 1,000 names per request."""
        bucket, prefix = self._place(folder.rstrip("/"))
        if not deep:
            yield from self._entries_of(bucket, prefix, folder)
            return
        place = f"{prefix}/{after}" if prefix and after else after
        yield from self._files_below(bucket, prefix, folder, place)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file; a large file is uploaded in parts."""
        bucket, name = self._place(path)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= _PART_BYTES:
            data = file.read()
            self._ask(lambda: _put(bucket.store, name, data), path, lambda _: size)
            return
        part_bytes = max(_PART_BYTES, -(-size // _MOST_PARTS))

        def put_parts() -> None:
            file.seek(0)
            obstore.put(
                bucket.uploads,
                name,
                file,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=_PARTS_AT_A_TIME,
            )

        self._ask(put_parts, path, lambda _: size)
        stored = self.stat(path).size
        if stored != size:
            raise OSError(errno.EIO, f"{stored} of {size} bytes were stored", path)

    def put_new(self, path: str, data: bytes) -> bool:
        """Uploads an object on the condition that none of that name exists."""
        bucket, name = self._place(path)

        def create() -> bool:
            try:
                _put(bucket.store, name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return self._ask(create, path, lambda _: len(data))

    def delete(self, path: str) -> None:
        """Deletes an object if it exists."""
        bucket, name = self._place(path)

        def delete() -> None:
            try:
                obstore.delete(bucket.store, name)
            except FileNotFoundError:
                return

        self._ask(delete, path)

    def leave(self) -> None:
        """Does nothing: a forked child only drops it."""

    def _files_below(
        self, bucket: Bucket, prefix: str, folder: str, after: str
    ) -> Iterator[Listed]:
        last = offset = after

        def begin() -> Any:
            nonlocal offset
            offset = last
            return obstore.list(
                bucket.store,
                prefix,
                offset=offset or None,
                chunk_size=_NAMES_AT_A_TIME,
            )

        pages = begin()

        def next_page() -> Any:
            nonlocal pages
            try:
                return next(pages, None)
            except BaseException:  # The next attempt begins behind the last name.
                pages = begin()
                raise

        while (page := self._ask(next_page, folder)) is not None:
            for meta in page:
                # A list of Azure's may begin with the offset, or before it.
                if offset and meta["path"] <= offset:
                    continue
                # Some tools create an empty object `a/` to represent a folder; obstore
                # calls it `a`.
                if meta["size"] or self._is_object(bucket, meta["path"], folder):
                    yield _listed(meta, prefix)
                last = meta["path"]

    def _entries_of(self, bucket: Bucket, prefix: str, folder: str) -> Iterator[Listed]:
        found = self._ask(
            lambda: obstore.list_with_delimiter(bucket.store, prefix), folder
        )
        for meta in found["objects"]:
            if meta["path"] != prefix:  # The folder itself, as an empty object.
                yield _listed(meta, prefix)
        for path in found["common_prefixes"]:
            yield Listed(_below(path, prefix), None)

    def _is_object(self, bucket: Bucket, name: str, folder: str) -> bool:
        def exists() -> bool:
            try:
                obstore.head(bucket.store, name)
            except FileNotFoundError:
                return False
            return True

        return self._ask(exists, folder)

    def _ask(
        self,
        request: Callable[[], _T],
        path: str,
        size: Callable[[_T], int] = lambda _: 0,
    ) -> _T:
        return call(lambda: self._retries.run(request, path, size))

    def _place(self, path: str) -> tuple[Bucket, str]:
        name, object_name = split_path(path)
        if not _BUCKET.fullmatch(name):
            raise UsageError(f'{path}: "{name}" is not the name of a bucket')
        with self._lock:
            if name not in self._buckets:
                self._buckets[name] = self._connect(name)
            return self._buckets[name], object_name


def _put(store: Any, name: str, data: bytes, mode: Any = "overwrite") -> None:
    obstore.put(store, name, data, mode=mode, use_multipart=False)


def _whole(data: Any, size: int) -> Any:
    if len(data) != size:
        raise ShortAnswerError(f"{len(data)} of {size} bytes were received")
    return data


def _listed(meta: Any, prefix: str) -> Listed:
    status = Status(meta["size"], _version_of(meta))
    return Listed(_below(meta["path"], prefix), status)


def _below(path: str, prefix: str) -> str:
    return path.removeprefix(f"{prefix}/") if prefix else path


def _version_of(meta: Any) -> int:
    """Returns the version by an ETag, which some answers quote and others do not."""
    return version_of((meta["e_tag"] or "").strip('"'))
