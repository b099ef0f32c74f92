"""Finds the members of a tar with their byte offsets, and detects damaged tars."""

import os
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from beam_jobs.elements import BadInput

_BLOCK = 512
_CHUNK = 1 << 20


class Member(NamedTuple):
    """A member of a tar.

    Attributes:
        name: Name stored in the tar, not necessarily valid UTF-8.
        offset: Byte offset of the member's data in the tar.
        size: Size of the member's data in bytes.
        wrong: Reason (`not_a_file` or `damaged_archive`) and detail of why the data
            cannot be read in place, or None.
    """

    name: bytes
    offset: int
    size: int
    wrong: tuple[str, str] | None


def members_of(file: IO[bytes]) -> Iterator[Member]:
    """Yields the members of a tar, except for folders.

    Raises:
        BadInput: `damaged_archive` if the tar is damaged. The readable members are
            yielded first.
    """
    bounded = _Bounded(file)
    # Header offsets must increase. This check prevents endless loops in a hostile tar.
    min_offset = 0
    try:
        tar = tarfile.TarFile(
            fileobj=bounded,  # type: ignore[arg-type]  # Has all methods in use.
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (info := tar.next()) is not None:
            if info.offset < min_offset or info.size < 0:
                raise BadInput("damaged_archive", f"bad header at byte {info.offset}")
            min_offset = info.offset + 1
            tar.members = []  # type: ignore[attr-defined]  # TarFile keeps all members.
            if not info.isdir():
                yield _member(info, bounded.size)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput("damaged_archive", f"cut short or damaged: {error}") from error
    _check_end(file, tar.offset)


class _Bounded:
    """File wrapper that never reads or seeks beyond the end of the file.

    A damaged header may request more bytes than fit in memory or in a file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= self.size:
            raise ValueError(f"byte {offset} is not within the tar")
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if size < 0:
            raise ValueError(f"{size} bytes")
        return self._file.read(min(size, self.size - self._file.tell()))


def _member(info: tarfile.TarInfo, end: int) -> Member:
    wrong = None
    if not info.isreg() or info.issparse():
        wrong = ("not_a_file", "a link, sparse or special file in the tar")
    elif info.offset_data + info.size > end:
        wrong = ("damaged_archive", "the tar ends in the middle of it")
    name = info.name.encode("utf-8", errors="surrogateescape")
    return Member(name, info.offset_data, info.size, wrong)


def _check_end(file: IO[bytes], offset: int) -> None:
    """Checks that a tar ends with zeros, because data after the end is not read."""
    file.seek(offset)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK or any(block):
        detail = f"neither a header nor an end at byte {offset}: cut short or damaged"
        raise BadInput("damaged_archive", detail)
    while chunk := file.read(_CHUNK):
        if chunk.count(0) < len(chunk):
            detail = (
                f"more data behind the tar's end at byte {offset}: two tars joined?"
            )
            raise BadInput("damaged_archive", detail)
