"""Reads many byte ranges of files in buckets, with few requests at the same time.

Neighboring ranges of a file become one request, so that a batch of records takes about
as long as a single record.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reader.object_stores.open_store import store_of
from reader.object_stores.request_threads import call_all
from reader.storage.files import is_remote, read_bytes
from reader.storage.merging import GAPS_OF_SOME, merged

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
    requests = requests_for(ranges)
    answers = call_all(_read, requests)
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


def requests_for(ranges: Sequence[Range]) -> list[Request]:
    """Returns the requests for ranges, by path and offset."""
    if not ranges:
        return []
    order = sorted(range(len(ranges)), key=ranges.__getitem__)
    paths, begins, ends = zip(*(ranges[place] for place in order), strict=True)
    _, files = np.unique(paths, return_inverse=True)
    columns = (files, np.array(begins, np.int64), np.array(ends, np.int64))
    return [
        Request(
            paths[some[0]],
            begins[some[0]],
            max(ends[n] for n in some),
            [order[n] for n in some],
        )
        for some in merged(*columns, GAPS_OF_SOME)
    ]
