"""Which byte ranges are read by one request: pure arithmetic."""

import itertools

import numpy as np
from numpy.typing import NDArray

_Int64s = NDArray[np.int64]

# Ranges are not merged to more bytes, and pieces of records are cut there: many
# requests at a time are faster than a long one, and fail less.
REQUEST_BYTES = 2 << 20
# Bytes between two ranges that are read rather than left out by a request more, which
# costs a client as much CPU time as 64 kB.
_GAP_BYTES = 64 << 10
# Largest share of bytes in gaps, beside those of the ranges. Runs over all records have
# their neighbors read by other hosts, so that gaps would be read many times.
GAPS_OF_ALL = 0.04
GAPS_OF_SOME = 0.5


def merged(
    files: _Int64s, begins: _Int64s, ends: _Int64s, most_gaps: float
) -> list[range]:
    """Returns the ranges that each request reads, with the gaps between them.

    Args:
        files: int64[n], number of each range's file, ascending.
        begins: int64[n], byte offset of its first byte, ascending within a file.
        ends: int64[n], byte offset after its last byte. Ranges may overlap.
        most_gaps: Largest share of bytes in gaps: `GAPS_OF_ALL` or `GAPS_OF_SOME`.

    Returns:
        Positions of ranges, which follow one another, for each request in order.
    """
    if not len(files):
        return []
    # As if files followed one another, too far apart to read from one into the next.
    shifts = (files - files[0]) * (int(ends.max()) + _GAP_BYTES + 1)
    begins, ends = begins + shifts, np.maximum.accumulate(ends + shifts)
    near = _after_small_gaps(begins, ends, most_gaps)
    firsts, last, most = [0], int(ends[0]), int(begins[0]) + REQUEST_BYTES
    columns = (near.tolist(), begins[1:].tolist(), ends[1:].tolist())
    for n, (is_near, begin, end) in enumerate(zip(*columns, strict=True), 1):
        if not is_near or end > max(last, most):
            firsts.append(n)
            most = begin + REQUEST_BYTES
        last = end
    return list(itertools.starmap(range, itertools.pairwise([*firsts, len(files)])))


def _after_small_gaps(
    begins: _Int64s, ends: _Int64s, most_gaps: float
) -> NDArray[np.bool_]:
    """Returns bool[n - 1], for each range but the first whether its gap is read.

    Args:
        begins: int64[n], ascending.
        ends: int64[n], byte offset after the last byte of all ranges so far.
        most_gaps: As of `merged`.
    """
    gaps = np.maximum(begins[1:] - ends[:-1], 0)
    own = int(ends[-1] - begins[0] - gaps.sum())
    small = np.flatnonzero(gaps <= _GAP_BYTES)
    by_size = small[np.argsort(gaps[small], kind="stable")]
    few = np.cumsum(gaps[by_size]) <= most_gaps * own
    near = np.zeros(len(gaps), np.bool_)
    near[by_size[few]] = True
    return near
