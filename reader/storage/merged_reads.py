"""Reads many byte ranges of files in buckets, with few requests at the same time.

Neighboring ranges of a file become one request, so that a batch of records takes about
as long as a single record.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from reader.object_stores.open_store import store_of
from reader.object_stores.request_threads import submit
from reader.storage.files import is_remote, read_bytes

# A request costs about as much as the bytes of such a gap between two ranges.
_GAP_BYTES = 64 << 10
# Largest share of bytes in gaps, beside those of the ranges.
_MOST_GAPS = 0.5
# Ranges are not merged to more bytes, since several requests are faster than one.
_REQUEST_BYTES = 2 << 20


# Path of a file, and byte offsets of the first byte and after the last one.
Range = tuple[str, int, int]


class Request(NamedTuple):
    """A byte range of a file that covers several wanted ranges.

    Attributes:
        path: Path of the file.
        begin: Byte offset of the first byte.
        end: Byte offset after the last byte.
        wanted: Positions of the wanted ranges in the caller's list.
    """

    path: str
    begin: int
    end: int
    wanted: list[int]


def read_merged(ranges: Sequence[Range]) -> list[bytes]:
    """Returns the bytes of ranges, which may overlap and be in any order.

    Raises:
        FileNotFoundError: A file does not exist.
        OSError: A file cannot be read, or an object ends before a range.
    """
    requests = merged(ranges)
    if len(requests) == 1:
        answers = [_read(requests[0])]
    else:
        futures = [submit(_read, request) for request in requests]
        try:
            answers = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
    found = [b""] * len(ranges)
    for request, data in zip(requests, answers, strict=True):
        for place in request.wanted:
            begin, end = (offset - request.begin for offset in ranges[place][1:])
            found[place] = bytes(data[begin:end])
    return found


def _read(request: Request) -> bytes | memoryview:
    path, begin, end, _ = request
    if is_remote(path):
        return store_of(path).read_ranges(path, [begin], [end])[0]
    return read_bytes(path, begin, end - begin)


def merged(ranges: Sequence[Range]) -> list[Request]:
    """Returns the requests for ranges, by path and offset."""
    order = sorted(range(len(ranges)), key=ranges.__getitem__)
    small = _small_gaps([ranges[place] for place in order])
    requests: list[Request] = []
    for n, place in enumerate(order):
        path, begin, end = ranges[place]
        last = requests[-1] if n in small else None
        if last and end <= max(last.end, last.begin + _REQUEST_BYTES):
            last.wanted.append(place)
            requests[-1] = last._replace(end=max(end, last.end))
        else:
            requests.append(Request(path, begin, end, [place]))
    return requests


def _small_gaps(ranges: Sequence[Range]) -> set[int]:
    """Returns which ranges are near the one before, so that the gap is read too.

    Args:
        ranges: Ranges by path and offset.
    """
    gaps, own, last = [], 0, ("", 0)
    for n, (path, begin, end) in enumerate(ranges):
        if path == last[0]:
            gaps.append((max(0, begin - last[1]), n))
            end = max(end, last[1])
            own += end - max(begin, last[1])
        else:
            own += end - begin
        last = path, end
    gaps.sort()
    total = accumulate(gap for gap, _ in gaps)
    return {
        n
        for (gap, n), so_far in zip(gaps, total, strict=True)
        if gap <= _GAP_BYTES and so_far <= _MOST_GAPS * own
    }
