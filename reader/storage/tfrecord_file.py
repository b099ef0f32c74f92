"""Reads shards record by record in plain Python, for inspection and verification.

Every checksum is checked, and damage is reported with its byte offset. Training uses
faster code.
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
        offset: Byte offset of the framed record in the file.
        data: Serialized record, without framing.
    """

    offset: int
    data: bytes


class Damage(NamedTuple):
    """Damage in a shard.

    Attributes:
        offset: Byte offset of the damaged record in the file.
        what: Description of the damage.
    """

    offset: int
    what: str


def read_shard(path: str) -> Iterator[Record]:
    """Yields the records of a shard.

    Raises:
        DatasetError: The shard is missing, or a record is damaged or truncated. The
            message names the file and the byte offset.
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
    """Yields the records and the damage of a shard, in order.

    If the length of a record is damaged, the start of the next record is unknown. The
    scan then resumes at the next offset from `starts`, or ends without one.

    Args:
        path: Path of the shard.
        starts: Function that returns the known byte offsets of records, sorted. It is
            called when a length is damaged.
        take: Function called with each piece of the file that is read, in order. It
            gets the whole file if the scan skips no bytes.
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
                # The file became shorter during the scan: another process writes it.
                yield Damage(offset, _TRUNCATED)
            elif masked_crc32c(data) != FOOTER.unpack(footer)[0]:
                yield Damage(offset, "corrupt record (checksum of its data differs)")
            else:
                yield Record(offset, data)
            offset += length + FRAMING_BYTES


_TRUNCATED = "truncated record"


def _length_in(header: bytes, num_bytes: int) -> tuple[str, int | None]:
    """Returns ("", length of the record), or (description of the damage, None).

    Args:
        header: Header of the record.
        num_bytes: Number of bytes from the header to the end of the file.
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
    """Returns the damage of a framed record of known length; None if it is intact.

    Args:
        framed: Bytes of the record, framing included.
        length: Length of the framed record according to the index, in bytes.
    """
    if len(framed) < length:
        return _TRUNCATED
    view = framed if isinstance(framed, bytes) else framed.data
    data_length, length_crc = HEADER.unpack_from(view)
    if masked_crc32c(framed[:8]) != length_crc:
        return "corrupt record (checksum of its length differs)"
    if data_length != length - FRAMING_BYTES:
        return "record length differs from the index: the shard was replaced"
    (crc,) = FOOTER.unpack_from(view, length - FOOTER.size)
    if masked_crc32c(framed[HEADER.size : -FOOTER.size]) != crc:
        return "corrupt record (checksum of its data differs)"
    return None


def scan_headers(path: str) -> tuple[list[int], Damage | None]:
    """Returns the offsets of a shard's records, and the damage that ended the scan.

    Only headers are read, so damage within a record is not detected.

    Returns:
        Byte offsets of the intact records and of the end of the last one; the damage,
        or None if the scan reached the end of the file.

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


# Bytes per request to a bucket. A request is more expensive than its bytes.
_CHUNK_BYTES = 8 << 20


def _reader_at(path: str) -> Callable[[int, int], bytes]:
    """Returns a function (offset, length) → bytes, efficient for increasing offsets."""
    if not is_remote(path):
        # Closed when the returned function is garbage-collected.
        file = open(path, "rb", buffering=0)  # noqa: SIM115
        return lambda offset, length: os.pread(file.fileno(), length, offset)
    chunk, begin = b"", 0

    def read(offset: int, length: int) -> bytes:
        nonlocal chunk, begin
        if not begin <= offset <= offset + length <= begin + len(chunk):
            chunk, begin = read_bytes(path, offset, _CHUNK_BYTES), offset
        return chunk[offset - begin : offset - begin + length]

    return read
