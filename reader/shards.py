"""Shards read record by record in plain Python: for looking and checking, not training.

Checks every checksum on the way, and says where a record is damaged.
"""

from collections.abc import Iterator
from typing import IO, NamedTuple

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, masked_crc32c


class Record(NamedTuple):
    """A record of a shard.

    Attributes:
        offset: Where its framing begins in the file, in bytes.
        data: Its bytes, without framing.
    """

    offset: int
    data: bytes


def read_shard(path: str) -> Iterator[Record]:
    """Yields the records of a shard.

    Raises:
        DatasetError: A record is damaged or cut short; names the file and the byte.
    """
    with open(path, "rb") as file:
        offset = 0
        while header := file.read(HEADER.size):
            data = _read_record(file, header, f"{path} at byte {offset}")
            yield Record(offset, data)
            offset = file.tell()


def _read_record(file: IO[bytes], header: bytes, where: str) -> bytes:
    if len(header) < HEADER.size:
        raise DatasetError(f"truncated record in {where}")
    length, length_crc = HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        raise DatasetError(f"corrupt record in {where}: checksum of its length differs")
    data = file.read(length)
    footer = file.read(FOOTER.size)
    if len(data) < length or len(footer) < FOOTER.size:
        raise DatasetError(f"truncated record in {where}")
    if masked_crc32c(data) != FOOTER.unpack(footer)[0]:
        raise DatasetError(f"corrupt record in {where}: checksum of its data differs")
    return data
