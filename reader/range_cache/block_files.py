"""Files of the cache: one for each block, in which its pieces follow one another."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from reader.range_cache.pieces import Kept
from reader.range_cache.users import lock

# Folders below the cache. A folder of very many files takes long to change.
_FOLDERS = 64
# Disks give out space in pages of so many bytes, or fewer.
_PAGE_BYTES = 4096


def in_pages(num_bytes: int) -> int:
    """Returns the space that a file of so many bytes takes on a disk."""
    return -(-num_bytes // _PAGE_BYTES) * _PAGE_BYTES


class BlockFiles:
    """Files of blocks by their numbers in the ledger, which are never used again."""

    def __init__(self, folder: str) -> None:
        """Creates the folders.

        Args:
            folder: Folder of the files.
        """
        self._folder = folder
        self._make_folders()

    def _make_folders(self) -> None:
        for name in self._folders():
            os.makedirs(name, exist_ok=True)

    def _folders(self) -> Iterator[str]:
        return (os.path.join(self._folder, f"{part:02x}") for part in range(_FOLDERS))

    def _path(self, block: int) -> str:
        return os.path.join(self._folder, f"{block % _FOLDERS:02x}", f"{block:x}")

    def append(self, block: int, offset: int, parts: Sequence[memoryview]) -> int:
        """Writes parts to the space of a file that was reserved for them.

        Args:
            block: Number of the block in the ledger.
            offset: Byte offset of the first part.
            parts: Bytes to write, one part after another.

        Returns:
            Space on the disk that the file takes now, in bytes.
        """
        file = os.open(self._path(block), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Of two processes that add to a file, none may make it shorter again.
            lock(file)
            end = offset + sum(map(len, parts))
            # XFS gives more space than asked for to files that grow by being written.
            if os.fstat(file).st_size < end:
                os.truncate(file, end)
            for part in parts:
                left = part
                while left:
                    num = os.pwrite(file, left, offset)
                    left, offset = left[num:], offset + num
            return space_of(os.fstat(file))
        finally:
            os.close(file)

    def read(self, block: int, parts: Sequence[Kept]) -> bytes | None:
        """Returns the bytes of parts of a file; None if they cannot be read."""
        try:
            file = os.open(self._path(block), os.O_RDONLY)
        except OSError:
            return None
        try:
            return b"".join(
                os.pread(file, part.end - part.begin, part.offset) for part in parts
            )
        except OSError:
            return None
        finally:
            os.close(file)

    def remove(self, block: int) -> None:
        """Deletes the file of a block, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(block))

    def remove_all(self) -> None:
        """Deletes all files."""
        shutil.rmtree(self._folder)
        self._make_folders()

    def space(self, block: int) -> int:
        """Returns the space on the disk that a file takes; 0 without a file."""
        try:
            return space_of(os.stat(self._path(block)))
        except FileNotFoundError:
            return 0

    def scan(self) -> Iterator[tuple[int, int]]:
        """Yields the block of each file, and the space that the file takes."""
        for folder in self._folders():
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield int(entry.name, 16), space_of(entry.stat())

    def space_of_folders(self) -> int:
        """Returns the space on the disk that the folders themselves take."""
        return sum(space_of(os.stat(name)) for name in (self._folder, *self._folders()))


def space_of(status: os.stat_result) -> int:
    """Returns the space on the disk that a file takes, in bytes."""
    return status.st_blocks * 512
