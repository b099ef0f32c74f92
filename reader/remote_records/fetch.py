"""Pieces → requests → checked records in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.object_stores import counts
from reader.object_stores.counts import Counts
from reader.object_stores.open_store import store_of
from reader.pixel_workers.shared_memory import NamedMemory
from reader.range_cache.pieces import Piece
from reader.range_cache.range_cache import RangeCache
from reader.remote_records.ranges import ranges_of
from reader.storage.files import is_remote
from reader.storage.open_files import OpenFiles
from reader.storage.tfrecord_file import damage_of

# Requests of one task, which happen at the same time.
_MOST_REQUESTS = 4
_MOST_BYTES = 2 << 20

Bytes = NDArray[np.uint8]


class Requests:
    """Reads pieces of files into memory, and checks the records in them.

    Threads may share an instance.
    """

    def __init__(
        self,
        paths: Sequence[str],
        memory: NamedMemory,
        *,
        sparse: bool,
        cache: RangeCache | None = None,
    ) -> None:
        """Initializes the requests.

        Args:
            paths: Path of each file; some may be local.
            memory: Memory to put records in.
            sparse: Whether a selection of the records is read.
            cache: Cache of pieces of remote files; None to request all of them.
        """
        self._paths, self._memory, self._sparse = paths, memory, sparse
        self._files, self._cache = OpenFiles(), cache

    def grouped(self, pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
        """Yields pieces that are read together: some requests in one file."""
        group: list[Piece] = []
        num, num_bytes = 0, 0
        for some in ranges_of(pieces, sparse=self._sparse):
            size = some[-1].end - some[0].begin
            if group and (
                some[0].file != group[0].file
                or num == _MOST_REQUESTS
                or num_bytes + size > _MOST_BYTES
            ):
                yield group
                group, num, num_bytes = [], 0, 0
            group += some
            num, num_bytes = num + 1, num_bytes + size
        if group:
            yield group

    def read(self, pieces: Sequence[Piece], clock: int) -> None:
        """Reads pieces of one file into memory, from the cache or from the store.

        A damaged record is requested once more. If it is damaged again, it is put into
        memory as it is, and its reader finds that.

        Args:
            pieces: Pieces of a window.
            clock: Clock of the window, for the cache.

        Raises:
            OSError: The file cannot be read.
        """
        if self._cache is None or not is_remote(self._paths[pieces[0].file]):
            self._request(pieces)
            return
        missing = []
        cached = self._cache.load(pieces, clock)
        for piece, data in zip(pieces, cached, strict=True):
            if data is None:
                missing.append(piece)
            else:
                self._memory.write(memoryview(data), piece.target)
        if missing:
            intact = self._request(missing)
            self._cache.store(
                [piece for piece, _ in intact],
                [whole.data for _, whole in intact],
                clock,
            )

    def _request(self, pieces: Sequence[Piece]) -> list[tuple[Piece, Bytes]]:
        """Requests pieces, and returns those that were intact at once, with bytes."""
        path, intact = self._paths[pieces[0].file], []
        ranges = ranges_of(pieces, sparse=self._sparse)
        found = self._ranges(
            path, [some[0].begin for some in ranges], [some[-1].end for some in ranges]
        )
        for some, data in zip(ranges, found, strict=True):
            for piece in some:
                begin = piece.begin - some[0].begin
                whole = data[begin : begin + piece.end - piece.begin]
                self._put(whole, piece.target, piece.end - piece.begin)
                if self._is_intact(path, piece, whole):
                    intact.append((piece, whole))
        return intact

    def _is_intact(self, path: str, piece: Piece, whole: Bytes) -> bool:
        """Requests the damaged records of a piece once more; returns if none was."""
        begin, is_intact = piece.begin, True
        for end in piece.ends:
            at = begin - piece.begin
            if damage_of(whole[at : at + end - begin], end - begin) is not None:
                counts.add(Counts(retried=1))
                (again,) = self._ranges(path, [begin], [end])
                self._put(again, piece.target + at, end - begin)
                is_intact = False
            begin = end
        return is_intact

    def _put(self, data: Bytes, target: int, size: int) -> None:
        """Puts bytes into memory, and zeros where a file ends before them.

        Otherwise a record that was there before would be taken for them.
        """
        self._memory.write(data.data, target)
        if len(data) < size:
            self._memory.write(memoryview(bytes(size - len(data))), target + len(data))

    def _ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[Bytes]:
        if is_remote(path):
            found: list[Any] = store_of(path).read_ranges(path, begins, ends)
        else:  # Of a local dataset that is read with others, or with a remote layer.
            found = [
                self._files.read(path, begin, end - begin)
                for begin, end in zip(begins, ends, strict=True)
            ]
        return [np.frombuffer(data, np.uint8) for data in found]
