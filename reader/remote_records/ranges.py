"""Records of a window → byte ranges to request, and where each record goes."""

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from reader.range_cache.pieces import Piece
from reader.shuffle.arrays import Int64s
from reader.storage.merging import GAPS_OF_ALL, GAPS_OF_SOME, REQUEST_BYTES, merged


class Records(NamedTuple):
    """Distinct records of a window, in file order, or what a layer adds to them.

    Attributes:
        blocks: int64[n], block of each record, counted over all files of the dataset.
        files: int64[n], index of each record's file.
        begins: int64[n], byte offset of its first byte in the file.
        ends: int64[n], byte offset after its last byte.
        targets: int64[n], byte offset in memory to put the record at. Neighbors are
            neighbors there too.
    """

    blocks: Int64s
    files: Int64s
    begins: Int64s
    ends: Int64s
    targets: Int64s

    def some(self, which: Int64s) -> "Records":
        """Returns some of the records."""
        return Records(*(column[which] for column in self))


def pieces_of(records: Records) -> tuple[list[Piece], Int64s]:
    """Returns the pieces of records, and int64[n], the index of each record's piece."""
    if not len(records.files):
        return [], np.zeros(0, np.int64)
    blocks, files, begins, ends, targets = records
    chunks = np.cumsum(ends - begins) // REQUEST_BYTES
    apart = begins[1:] != ends[:-1]
    for column in (blocks, files, chunks):
        apart |= column[1:] != column[:-1]
    first = np.flatnonzero(np.concatenate([[True], apart]))
    after = np.append(first[1:], len(files))
    columns = (files, begins, blocks, targets)
    pieces = [
        Piece(file, begin, ends[last - 1], block, ends[at:last], target)
        for at, last, file, begin, block, target, ends in zip(
            first.tolist(),
            after.tolist(),
            *(column[first].tolist() for column in columns),
            [ends.tolist()] * len(first),
            strict=True,
        )
    ]
    return pieces, np.repeat(np.arange(len(first)), after - first)


def ranges_of(pieces: Sequence[Piece], *, sparse: bool) -> list[list[Piece]]:
    """Returns pieces by the request that fetches them and what is between, in order.

    Args:
        pieces: Pieces in file order.
        sparse: Whether a selection of the records is read.
    """
    most_gaps = GAPS_OF_SOME if sparse else GAPS_OF_ALL
    files, begins, ends = (
        np.fromiter(map(itemgetter(n), pieces), np.int64, len(pieces)) for n in range(3)
    )
    requests = merged(files, begins, ends, most_gaps)
    return [list(pieces[some.start : some.stop]) for some in requests]
