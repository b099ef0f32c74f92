"""Writes TFRecord files and collects checksums and record offsets."""

from collections.abc import Callable

import google_crc32c

from reader.contract.index import dump_text_index
from reader.contract.record import frame_record


class TFRecordWriter:
    """Writes records and collects their offsets and lengths for the index.

    Attributes:
        num_records: Number of records written so far.
        num_bytes: Number of bytes written so far, framing included.
        offsets: Byte offset of each record.
        lengths: Size of each record in bytes, framing included.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Initializes the writer.

        Args:
            write: Function that writes bytes, such as the `write` method of a file.
        """
        self._write = write
        self._crc = google_crc32c.Checksum()
        self.num_bytes = 0
        self.offsets: list[int] = []
        self.lengths: list[int] = []

    @property
    def num_records(self) -> int:
        """Number of records written so far."""
        return len(self.offsets)

    @property
    def crc32c(self) -> str:
        """CRC-32C checksum of all bytes written so far, as 8 hex digits."""
        return str(self._crc.digest().hex())

    def write(self, record: bytes) -> None:
        """Writes one record with its TFRecord framing."""
        header, footer = frame_record(record)
        self.offsets.append(self.num_bytes)
        self.lengths.append(len(header) + len(record) + len(footer))
        for part in (header, record, footer):
            self._write(part)
            self._crc.update(part)
        self.num_bytes += self.lengths[-1]

    def text_index(self) -> bytes:
        """Returns the bytes of the shard's text index."""
        return dump_text_index(self.offsets, self.lengths)
