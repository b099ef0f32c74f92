"""What TensorFlow could not read, record by record: told by name, or replaced."""

import copy
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reader.contract import samples, schema
from reader.contract.errors import DatasetError
from reader.contract.layout import BLOCK_RECORDS, parse_shard_name
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.datasets.record_index import RecordIndex
from reader.shuffle.arrays import Int64s
from reader.storage.files import is_remote, read_bytes
from reader.storage.tfrecord_file import damage_of

_LOG = logging.getLogger("reader")


class Loss(NamedTuple):
    """A record that could not be read.

    Attributes:
        path: Its shard.
        offset: Where it begins there, in bytes.
        key: As it is shown; None if that is not known.
        what: Is wrong with it.
    """

    path: str
    offset: int
    key: str | None
    what: str

    def __str__(self) -> str:
        """Returns it as part of a message."""
        key = "" if self.key is None else f' (key "{self.key}")'
        return f"{self.what} in {self.path} at byte {self.offset}{key}"


def unusable(path: str, offset: int, key: str | None, why: str) -> DatasetError:
    """Returns what to raise of an intact record that nothing can be made of."""
    loss = Loss(path, offset, key, f"unusable record ({why})")
    return DatasetError(f"{loss}: its checksum is right, so it was written so")


class DamagedRecords:
    """Reads records one by one, where reading them all at once failed.

    Attributes:
        losses: `{record number: loss}` of all that was replaced so far.
        error: What ended the reading, if something did.
    """

    def __init__(self, index: RecordIndex, on_corrupt: str, key: str | None) -> None:
        """Takes where records lie, what to do, and which feature holds their keys."""
        self._index, self._skip, self._key = index, on_corrupt == "skip", key
        self.losses: dict[int, Loss] = {}
        self.error: DatasetError | OSError | None = None
        self._in_epoch: set[int] = set()

    def __call__(self, numbers: Int64s) -> tuple[np.ndarray[Any, Any], Any]:
        """Returns the records as object[n], and which are their own as bool[n].

        Raises:
            DatasetError: One is damaged, unless these are to be skipped, or all of a
                block are.
        """
        records = np.empty(len(numbers), object)
        intact = np.ones(len(numbers), np.bool_)
        try:
            for place, number in enumerate(numbers.tolist()):
                record = self._read(number)
                if isinstance(record, Loss):
                    record, intact[place] = self._replace(number, record), False
                records[place] = record
        except (DatasetError, OSError) as error:
            # TensorFlow passes on its text, in one of its own errors. Kept without its
            # traceback, which would hold all that was being read.
            self.error = copy.copy(error)
            raise
        if intact.all():
            _LOG.warning(
                "read %d records a second time: nothing is damaged", len(intact)
            )
        return records, intact

    def report(self, epoch: int) -> None:
        """Says what was lost since the last report."""
        lost, self._in_epoch = sorted(self._in_epoch), set()
        if lost:
            examples = "; ".join(str(self.losses[number]) for number in lost[:5])
            _LOG.warning(
                "epoch %d: %d of %d records could not be read and were replaced by "
                "neighbours: %s%s. Run `diptych verify`",
                epoch,
                len(lost),
                self._index.num_records,
                examples,
                " …" if len(lost) > 5 else "",
            )

    def _replace(self, number: int, loss: Loss) -> bytes:
        if not self._skip:
            raise DatasetError(f"{loss}: run `diptych verify`")
        self.losses[number] = loss
        self._in_epoch.add(number)
        shard, place = self._index.locate(number)
        first = place // BLOCK_RECORDS * BLOCK_RECORDS
        end = min(first + BLOCK_RECORDS, self._index.shards[shard].num_examples)
        for other in [*range(place + 1, end), *range(first, place)]:
            # Of one that is damaged too, its key is not asked for: that takes a while.
            record = self._read(number - place + other, named=False)
            if not isinstance(record, Loss):
                return record
        raise DatasetError(
            f"{loss}, and none of the {end - first} records of its block can be read: "
            "run `diptych verify`"
        )

    def _read(self, number: int, *, named: bool = True) -> bytes | Loss:
        shard, place = self._index.locate(number)
        path = self._index.shards[shard].path
        begin, end = self._index.offsets(shard)[place : place + 2].tolist()
        try:
            framed = read_bytes(path, begin, end - begin)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None
        what = damage_of(framed, end - begin)
        if what is None:
            return framed[HEADER.size : -FOOTER.size]
        data = framed[HEADER.size : -FOOTER.size]
        key = self._key_of(path, place, data) if named else None
        return Loss(path, begin, key, what)

    def _key_of(self, path: str, place: int, data: bytes) -> str | None:
        keys = sample_keys(path) or ()
        if place < len(keys):
            return keys[place]
        if self._key is None:
            return None
        try:
            (value,) = parse_example(data)[self._key]
        except (ValueError, KeyError):
            return None
        return schema.display_path(value)


def sample_keys(path: str) -> Sequence[str] | None:
    """Returns a shard's keys from the table beside it, in order, if it can be read."""
    folder, _, file = path.rpartition("/")
    name = parse_shard_name(file)
    if name is None or is_remote(path):
        return None
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:  # It belongs to the writing side.
        return None
    try:
        table = parquet.read_table(
            f"{folder}/{name.samples_file}", columns=[samples.KEY]
        )
        keys: Sequence[str] = table.column(samples.KEY).to_pylist()
    except (OSError, ArrowException, KeyError):
        return None
    return keys
