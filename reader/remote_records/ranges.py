"""Records of a window → byte ranges to request, and where each record goes."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.shuffle.arrays import Int64s

# A piece, and then a range, is cut where it is longer: many requests at a time are
# faster than a long one, and fail less.
_MOST_BYTES = 2 << 20
# Bytes between two records that are fetched rather than left out by a request more,
# which costs a client as much CPU time as 64 kB.
_MOST_GAP = 64 << 10
# Largest share of bytes in gaps, beside the records. Runs over all records have their
# neighbors read by other hosts, so that gaps would be fetched many times.
_GAPS_OF_ALL = 0.04
_GAPS_OF_SOME = 0.5


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


class Piece(NamedTuple):
    """Neighboring records of one block.

    Attributes:
        file: Index of the file.
        begin: Byte offset of the first byte in the file, framing included.
        end: Byte offset after the last byte.
        block: Block of the records, counted over all files of the dataset.
        ends: Byte offset after each record.
        target: Byte offset in memory to put the piece at.
    """

    file: int
    begin: int
    end: int
    block: int
    ends: Sequence[int]
    target: int


def pieces_of(records: Records) -> tuple[list[Piece], Int64s]:
    """Returns the pieces of records, and int64[n], the index of each record's piece."""
    if not len(records.files):
        return [], np.zeros(0, np.int64)
    blocks, files, begins, ends, targets = records
    chunks = np.cumsum(ends - begins) // _MOST_BYTES
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
    own = sum(piece.end - piece.begin for piece in pieces)
    gaps = np.array(
        [
            after.begin - piece.end if after.file == piece.file else -1
            for piece, after in itertools.pairwise(pieces)
        ],
        np.int64,
    )
    small = np.flatnonzero((gaps >= 0) & (gaps <= _MOST_GAP))
    by_size = small[np.argsort(gaps[small], kind="stable")]
    most = (_GAPS_OF_SOME if sparse else _GAPS_OF_ALL) * own
    joined = set(by_size[np.cumsum(gaps[by_size]) <= most].tolist())
    ranges: list[list[Piece]] = []
    for n, piece in enumerate(pieces):
        if n - 1 in joined and piece.end - ranges[-1][0].begin <= _MOST_BYTES:
            ranges[-1].append(piece)
        else:
            ranges.append([piece])
    return ranges
