"""Shards read record by record in plain Python: for looking and checking, not training.

Checks every checksum on the way, and says where a record is damaged.
"""

import bisect
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from reader.contract.errors import DatasetError
from reader.contract.record import (
    FOOTER,
    FRAMING_BYTES,
    HEADER,
    Bytes,
    masked_crc32c,
)
from reader.storage.files import is_remote, open_file, read_bytes, size_of


class Record(NamedTuple):
    """A record of a shard.

    Attributes:
        offset: Where its framing begins in the file, in bytes.
        data: Its bytes, without framing.
    """

    offset: int
    data: bytes


class Damage(NamedTuple):
    """Where a shard is damaged, and how."""

    offset: int
    what: str


def read_shard(path: str) -> Iterator[Record]:
    """Yields the records of a shard.

    Raises:
        DatasetError: It is missing, or a record is damaged or cut short; names the
            file and the byte.
    """
    try:
        for part in scan_shard(path):
            if isinstance(part, Damage):
                raise DatasetError(f"{part.what} in {path} at byte {part.offset}")
            yield part
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it or build again") from None


def scan_shard(
    path: str,
    *,
    starts: Callable[[], Sequence[int]] = tuple,
    take: Callable[[bytes], object] = len,
) -> Iterator[Record | Damage]:
    """Yields the records of a shard and what is damaged, as far as there is a way on.

    A record whose length cannot be trusted hides where the next one begins.

    Args:
        path: Of the shard.
        starts: Returns where records are known to begin, in order: asked where a
            length is damaged, to go on behind it.
        take: Called with every piece of the file, as long as none is passed over.
    """
    size = size_of(path)
    with open_file(path) as file:
        offset = 0
        while offset < size:
            header = file.read(HEADER.size)
            what, length = _length_in(header, size - offset)
            if length is None:
                yield Damage(offset, what)
                known = starts()
                place = bisect.bisect_right(known, offset)
                offset = known[place] if place < len(known) else size
                file.seek(offset)
                continue
            data, footer = file.read(length), file.read(FOOTER.size)
            for piece in (header, data, footer):
                take(piece)
            if len(data) + len(footer) < length + FOOTER.size:
                yield Damage(offset, _TRUNCATED)  # Just now: it is being written.
            elif masked_crc32c(data) != FOOTER.unpack(footer)[0]:
                yield Damage(offset, "corrupt record (checksum of its data differs)")
            else:
                yield Record(offset, data)
            offset += length + FRAMING_BYTES


_TRUNCATED = "truncated record"


def _length_in(header: bytes, num_bytes: int) -> tuple[str, int | None]:
    """Returns a record's length; or what is wrong, and None.

    Args:
        header: Of the record.
        num_bytes: From there to the end of the file.
    """
    if len(header) < HEADER.size:
        return _TRUNCATED, None
    length, length_crc = HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        return "corrupt record (checksum of its length differs)", None
    if length + FRAMING_BYTES > num_bytes:
        return _TRUNCATED, None
    return "", length


def damage_of(framed: bytes | Bytes, length: int) -> str | None:
    """Returns what is wrong with a record of a known length, or None."""
    if len(framed) < length:
        return _TRUNCATED
    data_length, length_crc = HEADER.unpack(bytes(framed[: HEADER.size]))
    if masked_crc32c(framed[:8]) != length_crc:
        return "corrupt record (checksum of its length differs)"
    if data_length != length - FRAMING_BYTES:
        return "record of another length than the index has: the shard was replaced"
    (crc,) = FOOTER.unpack(bytes(framed[-FOOTER.size :]))
    if masked_crc32c(framed[HEADER.size : -FOOTER.size]) != crc:
        return "corrupt record (checksum of its data differs)"
    return None


def scan_headers(path: str) -> tuple[list[int], Damage | None]:
    """Returns where each record begins and the last one ends, and what stops the scan.

    Only headers are read, so damage within a record goes unnoticed here.

    Raises:
        OSError: The file cannot be read.
    """
    size, read = size_of(path), _reader_at(path)
    offsets = [0]
    while (offset := offsets[-1]) < size:
        what, length = _length_in(read(offset, HEADER.size), size - offset)
        if length is None:
            return offsets, Damage(offset, what)
        offsets.append(offset + length + FRAMING_BYTES)
    return offsets, None


# What a bucket is asked for at a time: there a request costs more than its bytes.
_CHUNK_BYTES = 8 << 20


def _reader_at(path: str) -> Callable[[int, int], bytes]:
    """Returns a function (offset, length) → bytes, good for going forwards."""
    if not is_remote(path):
        file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed with its last user)
        return lambda offset, length: os.pread(file.fileno(), length, offset)
    chunk, begin = b"", 0

    def read(offset: int, length: int) -> bytes:
        nonlocal chunk, begin
        if not begin <= offset <= offset + length <= begin + len(chunk):
            chunk, begin = read_bytes(path, offset, _CHUNK_BYTES), offset
        return chunk[offset - begin : offset - begin + length]

    return read
