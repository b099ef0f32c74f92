"""Members of a tar, where they lie in it, one at a time; and what is wrong with it."""

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
        name: As the tar has it; bytes need not be text.
        offset: Where its data begin, in bytes.
        size: Of its data, in bytes.
        wrong: Why its data cannot be read in place: `not_a_file` or `damaged_archive`,
            and detail.
    """

    name: bytes
    offset: int
    size: int
    wrong: tuple[str, str] | None


def members_of(file: IO[bytes]) -> Iterator[Member]:
    """Yields the members of a tar that are no folders.

    Raises:
        BadInput: `damaged_archive`, after all members that could be found.
    """
    bounded = _Bounded(file)
    # One past the last header, so that a hostile tar cannot send us back.
    behind = 0
    try:
        tar = tarfile.TarFile(
            fileobj=bounded,  # type: ignore[arg-type]  # All that it asks of a file.
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (info := tar.next()) is not None:
            if info.offset < behind or info.size < 0:
                raise BadInput("damaged_archive", f"bad header at byte {info.offset}")
            behind = info.offset + 1
            tar.members = []  # type: ignore[attr-defined]  # It would keep all.
            if not info.isdir():
                yield _member(info, bounded.size)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput("damaged_archive", f"cut short or damaged: {error}") from error
    _check_end(file, tar.offset)


class _Bounded:
    """A file that is not read or searched beyond its end, whatever a header says.

    A header may call for more bytes than there is memory, or than files can have.
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
    """Checks that a tar ends as tars do, in zeros: what is behind an end is lost."""
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
