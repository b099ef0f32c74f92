"""Shards read record by record in plain Python: for looking and checking, not training.

Checks every checksum on the way, and says where a record is damaged.
"""

from collections.abc import Iterator
from typing import NamedTuple

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


def scan_shard(path: str) -> Iterator[Record | Damage]:
    """Yields the records of a shard and what is damaged, as far as there is a way on.

    A record whose length cannot be trusted hides where the next one begins.
    """
    with open(path, "rb") as file:
        while header := file.read(HEADER.size):
            offset = file.tell() - len(header)
            if len(header) < HEADER.size:
                yield Damage(offset, "truncated record")
                return
            length, length_crc = HEADER.unpack(header)
            if masked_crc32c(header[:8]) != length_crc:
                yield Damage(offset, "corrupt record (checksum of its length differs)")
                return
            data, footer = file.read(length), file.read(FOOTER.size)
            if len(data) + len(footer) < length + FOOTER.size:
                yield Damage(offset, "truncated record")
            elif masked_crc32c(data) != FOOTER.unpack(footer)[0]:
                yield Damage(offset, "corrupt record (checksum of its data differs)")
            else:
                yield Record(offset, data)
