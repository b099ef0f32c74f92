"""Foreign TFRecord files: files from other tools, without a manifest or an index."""

import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

from reader.contract.errors import DatasetError, UsageError
from reader.contract.record import FOOTER, HEADER, crc32c_hex, masked_crc32c
from reader.datasets.record_index import ShardFile
from reader.shuffle.arrays import Int64s
from reader.storage.files import is_remote, list_folder, read_bytes
from reader.storage.tfrecord_file import damage_of, scan_headers

# train-00003-of-00064.tfrecord, coco.record-00003-of-00064
_NUMBERED = re.compile(r"(?P<number>[0-9]{5})-of-(?P<num>[0-9]{5})")


# Records inspected to infer the schema of all records. One is not enough: it may be the
# one that has no caption.
NUM_INSPECTED = 64


def some_records(files: Sequence[ShardFile], *, tolerant: bool) -> list[bytes]:
    """Returns a sample of intact records, spread evenly over all files.

    The sample includes the first and the last record. Damaged records are left out. If
    all records of the sample are damaged, the first intact record of the files is
    returned.

    Args:
        files: Files to sample.
        tolerant: Whether to accept a damaged first record.

    Raises:
        DatasetError: The first record is damaged and `tolerant` is False.
    """
    ends = np.cumsum([file.num_examples for file in files])
    num = int(ends[-1])

    def intact(number: int) -> bytes | None:
        which = int(np.searchsorted(ends, number, side="right"))
        place = number - int(ends[which]) + files[which].num_examples
        return _intact_record(files[which], place, tolerant or number > 0)

    spread = np.unique(np.linspace(0, num - 1, NUM_INSPECTED).astype(np.int64))
    found = filter(None, map(intact, spread.tolist() if num else []))
    # If no sampled record is intact, search for the first intact one.
    return [*found] or [*itertools.islice(filter(None, map(intact, range(num))), 1)]


def _intact_record(file: ShardFile, place: int, tolerant: bool) -> bytes | None:
    begin, end = file.offsets()[place : place + 2].tolist()
    framed = read_bytes(file.path, begin, end - begin)
    damage = damage_of(framed, end - begin)
    if damage is None:
        return framed[HEADER.size : -FOOTER.size]
    if not tolerant:
        raise DatasetError(
            f"{damage} in {file.path} at byte {begin}: restore the file, or pass "
            'on_corrupt="skip"'
        )
    return None


def compression_of(path: str) -> str:
    """Returns `GZIP`, `ZLIB` or the empty string, judging by the first bytes of a file.

    The length field of an uncompressed record may start with the same bytes as a
    compressed file. Its checksum follows it, so this function checks that first.
    """
    header = read_bytes(path, 0, HEADER.size)
    if len(header) == HEADER.size:
        _, length_crc = HEADER.unpack(header)
        if masked_crc32c(header[:8]) == length_crc:
            return ""
    if header[:2] == b"\x1f\x8b":
        return "GZIP"
    # RFC 1950: deflate with a window of 32 KiB; the header is a multiple of 31.
    if header[:1] == b"\x78" and int.from_bytes(header[:2], "big") % 31 == 0:
        return "ZLIB"
    return ""


def check_numbers(paths: Iterable[str]) -> None:
    """Checks that numbered files such as `…-00003-of-00064` are complete.

    An incomplete copy of a dataset must fail here, not train on part of the data.

    Raises:
        DatasetError: Files of a numbered set are missing.
    """
    sets: dict[tuple[str, str, str, int], None] = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        if match := _NUMBERED.search(file):
            parts = (file[: match.start()], file[match.end() :], int(match["num"]))
            sets.setdefault((folder, *parts))
    for folder, before, after, num in sets:
        present = set(list_folder(folder or "."))
        names = [f"{before}{i:05d}-of-{num:05d}{after}" for i in range(num)]
        missing = [name for name in names if name not in present]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {num} files are missing from "
                f"{folder or '.'}/{before}…{after}, the first is {missing[0]}: copy "
                "all of them"
            )


def scan(path: str) -> tuple[ShardFile, str | None]:
    """Finds the byte offsets of a file's records by reading their headers.

    Returns:
        The file with its offsets, and a description of the damage if the scan stopped
        before the end of the file (None if it did not).

    Raises:
        DatasetError: The file is not a TFRecord file.
    """
    found, damage = scan_headers(path)
    if damage is not None and not damage.offset:
        raise DatasetError(f"{path} does not start like a TFRecord file")
    offsets: Int64s = np.array(found, np.int64)
    file = ShardFile(
        path=path,
        num_examples=len(offsets) - 1,
        num_bytes=int(offsets[-1]),
        checksum=crc32c_hex(offsets.tobytes()),
        offsets=lambda: offsets,
    )
    problem = None
    if damage is not None:
        problem = f"{damage.what} in {path} at byte {damage.offset}"
    return file, problem


def first_compressed_records(
    paths: list[str], compression: str, num: int
) -> list[bytes]:
    """Returns up to `num` records from the start of compressed files.

    Raises:
        DatasetError: The files hold no record, or one of these records is damaged.
        UsageError: TensorFlow does not read files there.
    """
    for path in paths:
        if is_remote(path) and not path.startswith("gs://"):
            raise UsageError(
                f"TensorFlow reads compressed TFRecords, and not {path}: copy them to "
                "a local folder or to gs://, or write them uncompressed"
            )
    # Imported here: uncompressed files are read without TensorFlow.
    import tensorflow as tf

    try:
        records = tf.data.TFRecordDataset(paths, compression_type=compression)
        found = [bytes(record) for record in records.take(num).as_numpy_iterator()]
    except tf.errors.OpError as error:
        raise DatasetError(f"{paths[0]}: {error.message}") from error
    if not found:
        raise DatasetError(f"{paths[0]} and the other matched files hold no record")
    return found
