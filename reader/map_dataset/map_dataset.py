"""Random access to records without TensorFlow, for map-style loaders and inspection.

Each access reads a record, verifies its checksum, and parses and decodes it. Only open
files, record offsets and, after `by_key`, hashes of keys stay in memory.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from reader.contract.checks import check_at_least
from reader.contract.errors import DatasetError
from reader.contract.record import crc32c_hex, parse_example
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import read_samples
from reader.decode.numpy_examples import Make, Place
from reader.map_dataset.key_index import Keys
from reader.records.random_access import RecordFiles
from reader.schedule.state import digest
from reader.shuffle.subset import NOT_CHOSEN, Chosen, KeptRecords, unpack

# Examples that iterating reads together.
_READ_TOGETHER = 64


class MapDataset:
    """Map-style dataset: `len(d)`, `d[i]`, `d.by_key("park/0042")`.

    Threads and forked processes may share a dataset. Its pickle is small: unpickling
    opens the dataset again.

    Attributes:
        source: Records of the dataset. If some are chosen, `len(d)` counts these, and
            `d[i]` is the i-th of these.
    """

    def __init__(
        self,
        source: RecordSource,
        files: RecordFiles,
        make: Mapping[str, Make],
        names: tuple[str, ...] | None,
        transform: Callable[[Any], Any] | None,
        reopen: Callable[[], "MapDataset"],
    ) -> None:
        """Creates a dataset; use `reader.open` instead.

        Args:
            source: Records of the dataset.
            files: Files of the dataset.
            make: Function for each output name that makes the output from the features
                of a record.
            names: Names of outputs, in the order of tuples; None for dictionaries.
            transform: Function applied to each example.
            reopen: Function that opens the same dataset in another process.
        """
        self.source, self._num, self._subset = source, source.num_examples, None
        if source.chosen is not None:
            blocks = source.index().blocks
            self._subset = KeptRecords(source.chosen.words, blocks)
            self._num = self._subset.num_records
        self._files = files
        self._keys = Keys(source, files)
        self._make, self._names = make, names
        self._transform, self._reopen = transform, reopen
        self._epoch = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the arguments of `open`, and a bit per record if some are chosen."""
        chosen = self.source.chosen
        return _open_again, (self._reopen, chosen, self._fingerprint, self._epoch)

    def _choosing(self, chosen: Chosen) -> "MapDataset":
        """Returns the dataset with some of its records."""
        source = dataclasses.replace(self.source, chosen=chosen)
        settings = self._make, self._names, self._transform, self._reopen
        return MapDataset(source, self._files, *settings)

    def __repr__(self) -> str:
        """Returns the name, number of records and shards, and the outputs."""
        num, outputs = len(self.source.shards), ", ".join(self._make)
        return (
            f"<MapDataset {self.source.name}: {len(self):,} records in {num:,} "
            f"shard{'' if num == 1 else 's'}; {outputs}>"
        )

    def __len__(self) -> int:
        """Returns the number of records."""
        return self._num

    def __getitem__(self, number: SupportsIndex) -> Any:
        """Returns the example of a record; negative numbers count from the end.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
            IndexError: The number is out of range.
            TypeError: The number is not an integer.
        """
        (index,) = self._records_of([number])
        return self._example(number, index, self._files.read(index))

    def __getitems__(self, numbers: Sequence[SupportsIndex]) -> list[Any]:
        """Returns the examples of several records, for which PyTorch's loaders ask.

        Records in a bucket are fetched with few requests at the same time.

        Raises:
            DatasetError: As for `d[i]`.
            IndexError: As for `d[i]`.
            TypeError: As for `d[i]`.
        """
        return list(self._examples(numbers))

    def _examples(self, numbers: Sequence[SupportsIndex]) -> Iterator[Any]:
        """Returns an iterator over examples, whose records are read together."""
        indices = self._records_of(numbers)
        return map(self._example, numbers, indices, self._files.read_each(indices))

    def _example(self, number: SupportsIndex, index: int, record: bytes) -> Any:
        """Returns the example that the bytes of a record make."""
        try:
            epoch = getattr(number, "epoch", self._epoch)  # Of `reader.sampler`.
            place = Place(index, epoch, self._files.dataset_of(index))
            values = parse_example(record)
            example: Any = {
                name: make(values, place) for name, make in self._make.items()
            }
        except (ValueError, OverflowError) as error:
            raise self._files.unusable(index, record, error) from error
        if self._names is not None:
            example = tuple(example[name] for name in self._names)
        return example if self._transform is None else self._transform(example)

    def __iter__(self) -> Iterator[Any]:
        """Yields all examples in the order written."""
        for begin in range(0, len(self), _READ_TOGETHER):
            end = min(begin + _READ_TOGETHER, len(self))
            yield from self._examples(range(begin, end))

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of random crops and flips, which is 0 at first.

        As with PyTorch's `DistributedSampler`, call it before each epoch. A
        `DataLoader` with `persistent_workers=True` does not pass it on to its workers.

        Args:
            epoch: Epoch, counted from 0.

        Raises:
            UsageError: The epoch is negative.
        """
        self._epoch = check_at_least("epoch", epoch, 0)

    def by_key(self, key: str | bytes) -> Any:
        """Returns the example with a key.

        The first call reads all keys from `samples/`, and keeps 16 bytes per key in
        memory. Without `samples/` or pyarrow, it reads the keys from the records.

        Args:
            key: Key as bytes, or as displayed, with bytes that are not UTF-8 as `%XX`.

        Raises:
            DatasetError: The record is damaged, or a shard is missing.
            KeyError: No record has the key, or several records have it.
            TypeError: The key is neither str nor bytes.
            UsageError: The feature that holds keys is unknown.
        """
        (index,) = self.indices_of(np.array([self._keys.number_of(key)])).tolist()
        if index == NOT_CHOSEN:
            raise KeyError(f"the record with the key {key!r} is not selected")
        return self[index]

    def indices_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns int64[n], the indices of records; `NOT_CHOSEN` for other records.

        Args:
            numbers: int64[n], record numbers in the order written.
        """
        if self._subset is None:
            return numbers
        return self._subset.planned(numbers)

    @functools.cached_property
    def samples(self) -> Any:
        """`pyarrow.Table` of `samples/`, one row per record, in record order.

        Raises:
            DatasetError: A table is missing or damaged.
            UsageError: Pyarrow is not installed, or the records are foreign TFRecords.
        """
        table = read_samples(self.source)
        if self.source.chosen is None:
            return table
        counts = [shard.num_examples for shard in self.source.shards]
        return table.filter(unpack(self.source.chosen.words, counts))

    @property
    def _fingerprint(self) -> str:
        """Digest that is equal for the same records in the same order."""
        checksums = [shard.checksum for shard in self.source.shards]
        for layer in self.source.layers:
            checksums += [shard.checksum for shard in layer.shards]
        checksums += filter(None, [digest([self.source])])
        return crc32c_hex(" ".join(checksums).encode())

    def _checked(self, number: SupportsIndex) -> int:
        try:
            index = operator.index(number)
        except TypeError:
            raise TypeError(
                f"record numbers must be integers, got {number!r}: read the records of "
                "a slice one by one, and look up keys with by_key"
            ) from None
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"record {index} does not exist: {self.source.name} has {len(self)} "
                "records"
            )
        return index % len(self)

    def _records_of(self, numbers: Sequence[SupportsIndex]) -> list[int]:
        """Returns the record number of each index."""
        indices = list(map(self._checked, numbers))
        if self._subset is None:
            return indices
        planned = np.array(indices, np.int64)
        records, _ = self._subset.records(planned, np.zeros_like(planned))
        found: list[int] = records.tolist()
        return found


def _open_again(
    reopen: Callable[[], MapDataset],
    chosen: Chosen | None,
    fingerprint: str,
    epoch: int = 0,
) -> MapDataset:
    """Opens a pickled dataset again.

    Raises:
        DatasetError: The dataset has changed since it was pickled.
    """
    dataset = reopen()
    if chosen is not None:
        dataset = dataset._choosing(chosen)
    if dataset._fingerprint != fingerprint:
        raise DatasetError(
            f"{dataset.source.name} has changed since this dataset was opened: open "
            "it again"
        )
    dataset.set_epoch(epoch)
    return dataset
