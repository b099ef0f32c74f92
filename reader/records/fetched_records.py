"""Fetches single records from buckets, all at the same time, and through a cache."""

from collections.abc import Sequence
from itertools import islice

from reader.contract.errors import DatasetError, file_of
from reader.datasets.record_index import RecordIndex, Span
from reader.range_cache.pieces import Piece, is_intact
from reader.range_cache.range_cache import RangeCache
from reader.shuffle.arrays import Int64s
from reader.storage.files import is_remote
from reader.storage.merged_reads import read_merged


class FetchedRecords:
    """Fetches records by their places. Threads and forked processes may share it."""

    def __init__(self, index: RecordIndex, cache: RangeCache | None) -> None:
        """Initializes the requests.

        Args:
            index: Index of the files, of which some may be local.
            cache: Cache of what was fetched; None for no cache.
        """
        self._paths = [file.path for file in index.files]
        self._blocks = index.blocks
        self._cache = cache

    def __call__(self, places: Int64s) -> list[list[bytes]]:
        """Returns the framed bytes of each record, and then of its part of each layer.

        Args:
            places: int64[n, 4 + 3 * layers], as of `RecordIndex.places`.

        Raises:
            DatasetError: A file is missing.
            OSError: A file cannot be read.
        """
        numbers, parts = places[:, 0], places[:, 1:].reshape(len(places), -1, 3)
        blocks = self._blocks.of_records(numbers)
        pieces = [
            Piece(file, begin, end, block)
            for record, block in zip(parts.tolist(), blocks.tolist(), strict=True)
            for file, begin, end in record
        ]
        framed = iter(self._read(pieces))
        return [list(islice(framed, parts.shape[1])) for _ in range(len(places))]

    def _read(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Returns the bytes of pieces, as they are."""
        if self._cache is None:
            return self._request(pieces)
        found = dict.fromkeys(range(len(pieces)), b"")
        cached = [n for n in found if is_remote(self._paths[pieces[n].file])]
        of_cache = self._cache.load([pieces[n] for n in cached])
        found |= {n: data or b"" for n, data in zip(cached, of_cache, strict=True)}
        lacking = [n for n, data in found.items() if not data]
        requested = self._request([pieces[n] for n in lacking])
        found |= zip(lacking, requested, strict=True)
        new = [n for n in {*lacking} & {*cached} if is_intact(found[n])]
        if new:
            self._cache.store([pieces[n] for n in new], [found[n] for n in new])
        return list(found.values())

    def _request(self, pieces: Sequence[Piece]) -> list[bytes]:
        spans = [Span(self._paths[each.file], each.begin, each.end) for each in pieces]
        try:
            return read_merged(spans)
        except FileNotFoundError as error:
            raise DatasetError(f"{file_of(error)} is missing: restore it") from None
