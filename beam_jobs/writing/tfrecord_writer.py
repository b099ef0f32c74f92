"""TFRecord files: framing, checksums and the index, as the records go by."""

from collections.abc import Callable

import google_crc32c

from reader.contract.index import dump_text_index
from reader.contract.layout import BLOCK_RECORDS
from reader.contract.record import frame_record


class TFRecordWriter:
    """Writes records one after the other and keeps what an index needs.

    Attributes:
        num_records: Written so far.
        num_bytes: Written so far, framing included.
        offsets: Where each record begins, in bytes.
        lengths: Bytes of each record, framing included.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Takes where bytes go, such as a file's `write`."""
        self._write = write
        self._crc = google_crc32c.Checksum()
        self.num_bytes = 0
        self.offsets: list[int] = []
        self.lengths: list[int] = []

    @property
    def num_records(self) -> int:
        """Records written so far."""
        return len(self.offsets)

    @property
    def crc32c(self) -> str:
        """Checksum of the whole file so far, 8 hex digits."""
        return str(self._crc.digest().hex())

    def write(self, record: bytes) -> None:
        """Writes one record."""
        header, footer = frame_record(record)
        self.offsets.append(self.num_bytes)
        self.lengths.append(len(header) + len(record) + len(footer))
        for part in (header, record, footer):
            self._write(part)
            self._crc.update(part)
        self.num_bytes += self.lengths[-1]

    def block_offsets(self) -> list[int]:
        """Returns where every 64th record begins: the shard's part of the index."""
        return self.offsets[::BLOCK_RECORDS]

    def text_index(self) -> bytes:
        """Returns the shard's text index."""
        return dump_text_index(self.offsets, self.lengths)
