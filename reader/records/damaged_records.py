"""Reads single records where a batch failed; reports or replaces damaged ones."""

import copy
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reader.contract import samples, schema
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BLOCK_RECORDS, parse_shard_name
from reader.contract.record import FOOTER, HEADER, parse_example, parse_features
from reader.datasets.record_index import RecordIndex, Span
from reader.datasets.samples_table import read_table_at
from reader.object_stores.request_threads import submit
from reader.shuffle.arrays import Int64s
from reader.storage.files import read_bytes
from reader.storage.tfrecord_file import damage_of

_LOG = logging.getLogger("reader")

# Time to look for the key of a record that a store does not give, for the message.
_KEY_SECONDS = 5.0


class Loss(NamedTuple):
    """A record that could not be read.

    Attributes:
        path: Path of the record's shard.
        offset: Byte offset of the record in its shard.
        key: Key of the record, as displayed; None if unknown.
        what: Description of the damage.
    """

    path: str
    offset: int
    key: str | None
    what: str

    def __str__(self) -> str:
        """Returns the loss as part of a message."""
        key = "" if self.key is None else f' (key "{self.key}")'
        return f"{self.what} in {self.path} at byte {self.offset}{key}"


def unusable(path: str, offset: int, key: str | None, why: str) -> DatasetError:
    """Returns the error for an intact record that cannot be parsed or decoded.

    Args:
        path: Path of the record's shard.
        offset: Byte offset of the record in its shard.
        key: Key of the record, as displayed; None if unknown.
        why: Reason that the record cannot be used.
    """
    loss = Loss(path, offset, key, f"unusable record ({why})")
    return DatasetError(
        f"{loss}: its checksum is right, so the record was written like this"
    )


def to_blame(index: RecordIndex, spans: Sequence[Span]) -> tuple[Span, str | None]:
    """Returns which part of an unusable record is to blame, and why if that is known.

    It is the record of a layer that does not hold what the layer states, or else that
    of the dataset.

    Args:
        index: Index of the record.
        spans: Where the record is, and then that of each layer.
    """
    for span, layer in zip(spans[1:], index.layers, strict=True):
        framed = read_bytes(span.path, span.begin, span.end - span.begin)
        data = framed[HEADER.size : -FOOTER.size]
        try:
            if data:
                parse_features(data, layer.features)
        except ValueError as error:
            return span, str(error)
    return spans[0], None


class DamagedRecords:
    """Reads records one by one after reading a window or a batch failed.

    Attributes:
        losses: Replaced records so far, as `{record number: loss}`.
        error: Error that ended the reading; None without an error.
    """

    def __init__(self, index: RecordIndex, on_corrupt: str, key: str | None) -> None:
        """Creates the reader.

        Args:
            index: Index of the records' files and byte offsets.
            on_corrupt: `"skip"` to replace damaged records, `"raise"` to raise errors.
            key: Feature key of the records' keys; None if unknown.
        """
        self._index, self._skip, self._key = index, on_corrupt == "skip", key
        self.losses: dict[int, Loss] = {}
        self.error: DatasetError | OSError | None = None
        self._unreported: defaultdict[int, set[int]] = defaultdict(set)

    def __call__(
        self, numbers: Int64s, lap: int = 0
    ) -> tuple[np.ndarray[Any, Any], Any]:
        """Reads records, replacing or reporting damaged ones.

        Args:
            numbers: int64[n], record numbers.
            lap: What `report` will be called for, if laps are read at the same time.

        Returns:
            object[n], serialized records; bool[n], False for replaced records.

        Raises:
            DatasetError: A record is damaged and `on_corrupt` is `"raise"`, all records
                of its block are damaged, or a shard is missing.
        """
        records = np.empty(len(numbers), object)
        intact = np.ones(len(numbers), np.bool_)
        try:
            for place, number in enumerate(numbers.tolist()):
                record = self._read(number)
                if isinstance(record, Loss):
                    record, intact[place] = self._replace(number, record), False
                    self._unreported[lap].add(number)
                records[place] = record
        except (DatasetError, OSError) as error:
            # TensorFlow raises its own error, which keeps only the text of this one.
            # The copy has no traceback, which would keep the records in memory.
            self.error = copy.copy(error)
            raise
        if intact.all():
            _LOG.warning(
                "read %d records a second time: no record is damaged", len(intact)
            )
        return records, intact

    def unusable(self, number: int, record: bytes, why: Exception) -> DatasetError:
        """Returns the error for an intact record, as the one that ended the reading.

        Args:
            number: Number of the record.
            record: Bytes of the record, without framing.
            why: Error of using the record.
        """
        span, found = to_blame(self._index, self._index.spans(number))
        key = self._key_of(number, record)
        self.error = unusable(span.path, span.begin, key, found or str(why))
        return copy.copy(self.error)

    def unreadable(self, number: int, span: Span, error: OSError) -> Exception:
        """Returns the error for a record that a store does not give.

        Args:
            number: Number of the record.
            span: What was to be read, of which the record is a part.
            error: Error of the store.
        """
        if isinstance(error, FileNotFoundError):
            self.error = DatasetError(f"{span.path} is missing: restore it")
        else:
            key = self._key_of_soon(number)
            shown = "" if key is None else f' (key "{key}")'
            self.error = type(error)(
                f"cannot read bytes {span.begin} to {span.end} of {span.path}{shown}: "
                f"{error.strerror or error}"
            )
        return copy.copy(self.error)

    def report(self, epoch: int, lap: int = 0) -> None:
        """Logs the records that were replaced since the last report.

        Args:
            epoch: Index of the epoch that ended.
            lap: Lap that ended, as given with its records.
        """
        lost = sorted(self._unreported.pop(lap, ()))
        if lost:
            examples = "; ".join(str(self.losses[number]) for number in lost[:5])
            _LOG.warning(
                "epoch %d: %d of %d records could not be read and were replaced by "
                "neighbors: %s%s. Run `diptych verify`",
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
        shard, place = self._index.locate(number)
        first = place // BLOCK_RECORDS * BLOCK_RECORDS
        end = min(first + BLOCK_RECORDS, self._index.shards[shard].num_examples)
        for other in [*range(place + 1, end), *range(first, place)]:
            # The key of another damaged record is not needed, and finding it is slow.
            record = self._read(number - place + other, named=False)
            if not isinstance(record, Loss):
                return record
        raise DatasetError(
            f"{loss}, and all {end - first} records of its block are damaged: run "
            "`diptych verify`"
        )

    def _read(self, number: int, *, named: bool = True) -> bytes | Loss:
        """Returns a record with what layers add to it, or the damage of one of them."""
        parts: list[bytes] = []
        for path, begin, end in self._index.spans(number):
            try:
                framed = read_bytes(path, begin, end - begin)
            except FileNotFoundError:
                raise DatasetError(f"{path} is missing: restore it") from None
            parts.append(framed[HEADER.size : -FOOTER.size])
            damage = damage_of(framed, end - begin)
            if damage is not None:
                key = self._key_of(number, parts[0]) if named else None
                return Loss(path, begin, key, damage)
        return self._index.joined(parts)

    def _key_of_soon(self, number: int) -> str | None:
        """Returns the key, unless the store that has failed does not give it either."""
        try:
            return submit(self._key_of, number, b"").result(_KEY_SECONDS)
        except (OSError, TimeoutError):
            return None

    def _key_of(self, number: int, data: bytes) -> str | None:
        shard, place = self._index.locate(number)
        keys = sample_keys(self._index.shards[shard].path)
        if place < len(keys):
            return keys[place]
        if self._key is None:
            return None
        try:
            (value,) = parse_example(data)[self._key]
        except (ValueError, KeyError):
            return None
        return schema.display_path(value)


def sample_keys(path: str) -> Sequence[str]:
    """Returns a shard's keys from its samples table, in record order.

    Returns no keys if the table cannot be read, or if pyarrow is not installed.
    """
    folder, _, file = path.rpartition("/")
    name = parse_shard_name(file)
    if name is None:
        return ()
    try:
        table = read_table_at(f"{folder}/{name.samples_file}", None, [samples.KEY])
    except (DatasetError, UsageError):  # Pyarrow is a dependency of beam_jobs.
        return ()
    keys: Sequence[str] = table.column(samples.KEY).to_pylist()
    return keys
