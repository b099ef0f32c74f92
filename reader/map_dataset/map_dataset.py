"""Records by their number, without TensorFlow: for map-style loaders, and for looking.

A record is read where it lies, checked, parsed and decoded when it is asked for.
Nothing is kept but open files, offsets and, after `by_key`, hashes of keys.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

from reader.config import defaults
from reader.config.read_config import ReadConfig, check_names, output_names
from reader.contract.errors import DatasetError, UsageError
from reader.contract.record import crc32c_hex, parse_example
from reader.datasets.foreign_schema import check_features
from reader.datasets.record_source import (
    Patterns,
    RecordSource,
    list_patterns,
    open_record_source,
)
from reader.datasets.samples_table import read_samples
from reader.decode.numpy_examples import RECORD_OUTPUTS, Make, makers
from reader.map_dataset.key_index import Keys
from reader.records.random_access import RecordFiles


def open(
    pattern: Patterns,
    *,
    split: str | None = None,
    outputs: Sequence[str] | None = None,
    max_tokens: int = defaults.MAX_TOKENS,
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS,
    transform: Callable[[Any], Any] | None = None,
    features: Mapping[str, str] | None = None,
) -> "MapDataset":
    """Opens a dataset to take records by their number; needs no TensorFlow.

        dataset = reader.open("out", split="train")
        dataset[0]["image"]                 # uint8[height, width, 3], as stored
        dataset.by_key("park/0042")["tokens"]

    As it stands it is a map-style dataset for PyTorch's `DataLoader`. (`gs://` is read
    by TensorFlow, which must not be forked: its workers are to be spawned.)

    Args:
        pattern: A shard glob such as `"out/train-*.tfrecord"`, the folder of a
            dataset, or a list of these, read as one larger dataset.
        split: Which split, where `pattern` is a folder that holds several.
        outputs: Names, in order, to get tuples instead of a dictionary.
        max_tokens: Captions are padded or cut to this; start and end count.
        add_special_tokens: Whether captions begin with the tokenizer's start token
            and close with its end token, where it has these; kept when cutting.
        transform: Applied to what `dataset[i]` were without it. Spawned workers take
            functions of modules, not lambdas.
        features: For TFRecords that others wrote, which keys hold what, as in `load`.

    Returns:
        A `MapDataset` of dictionaries.

        They hold, as far as the records do,

            image   uint8[height, width, 3], as stored
            tokens  int32[max_tokens], of the first caption
            mask    bool[max_tokens], True where tokens are not padding

        and on request `length`, `height`, `width` (int, of images in pixels), `key`,
        `caption` (str, the first), `captions` (list[str], all) and columns: int,
        float32, str, or arrays (of text, lists) of these.

    Raises:
        UsageError: An argument is wrong (a `ValueError`), or a library is missing.
        DatasetError: A dataset is unfinished or not whole.
    """
    reopen = functools.partial(open, **locals())  # Before there are others.
    names = output_names(outputs)
    check_names(names, RECORD_OUTPUTS)
    config = ReadConfig(
        batch_size=1,
        max_tokens=max_tokens,
        add_special_tokens=add_special_tokens,
        outputs=("length",),  # With tokens, each worker would warn of padding.
    )
    if transform is not None and not callable(transform):
        raise UsageError(f"transform must be a function, got {transform!r}")
    source = _open_corpus(pattern, split, features)
    make = makers(names, source.record_schema, config)
    return MapDataset(source, make, names, transform, reopen)


def _open_corpus(
    pattern: Patterns, split: str | None, features: Mapping[str, str] | None
) -> RecordSource:
    if isinstance(pattern, Mapping):
        raise UsageError(
            f"a mixture has no first record and no last: open its parts, got {pattern}"
        )
    paths = list_patterns(pattern)
    return open_record_source(paths, split, check_features(features), compressed=False)


class MapDataset:
    """Records by their number or key: `len(d)`, `d[i]`, `d.by_key("park/0042")`.

    Threads and forked processes may share one. A pickled one is small, and is opened
    anew where it arrives.
    """

    def __init__(
        self,
        source: RecordSource,
        make: Mapping[str, Make],
        names: tuple[str, ...] | None,
        transform: Callable[[Any], Any] | None,
        reopen: Callable[[], "MapDataset"],
    ) -> None:
        """Takes what `open` found; call that.

        Args:
            source: The records.
            make: How to make each output of what a record holds.
            names: Of outputs, in the order of tuples; None for dictionaries.
            transform: Applied to these.
            reopen: Opens the same in another process.
        """
        self._source, self._num = source, source.num_examples
        self._files = RecordFiles(source)
        self._keys = Keys(source, self._files)
        self._make, self._names = make, names
        self._transform, self._reopen = transform, reopen

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves behind what was opened."""
        return _open_again, (self._reopen, self._fingerprint)

    def __repr__(self) -> str:
        """Tells how much there is of what."""
        num, outputs = len(self._source.shards), ", ".join(self._make)
        return (
            f"<MapDataset {self._source.name}: {len(self):,} records in {num:,} "
            f"shard{'' if num == 1 else 's'}; {outputs}>"
        )

    def __len__(self) -> int:
        """Returns the number of records."""
        return self._num

    def __getitem__(self, number: SupportsIndex) -> Any:
        """Returns an example; negative numbers count from the end.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
            IndexError: There is no such record.
            TypeError: That is no whole number.
        """
        place = self._checked(number)
        record = self._files.read(place)
        try:
            values = parse_example(record)
            example: Any = {name: make(values) for name, make in self._make.items()}
        except (ValueError, OverflowError) as error:
            raise self._files.unusable(place, record, error) from error
        if self._names is not None:
            example = tuple(example[name] for name in self._names)
        return example if self._transform is None else self._transform(example)

    def __iter__(self) -> Iterator[Any]:
        """Yields all examples, in the order written."""
        return map(self.__getitem__, range(len(self)))

    def by_key(self, key: str | bytes) -> Any:
        """Returns the example of a key.

        The first call reads all keys, 16 bytes of each are then kept: from `samples/`,
        or if that or pyarrow is not there, from the records themselves.

        Args:
            key: As bytes, or as it is shown: what is not UTF-8 as `%XX`.

        Raises:
            DatasetError: The record is damaged, or a shard is missing.
            KeyError: No record has the key, or several have.
            UsageError: Which feature holds keys is not known.
        """
        return self[self._keys.number_of(key)]

    @functools.cached_property
    def samples(self) -> Any:
        """The rows of `samples/`, one for each record, in order: a `pyarrow.Table`.

        Raises:
            DatasetError: A table is missing or damaged.
            UsageError: Pyarrow is not installed, or others wrote these TFRecords.
        """
        return read_samples(self._source)

    @property
    def _fingerprint(self) -> str:
        """Equal where the same records come in the same order."""
        checksums = (shard.checksum for shard in self._source.shards)
        return crc32c_hex(" ".join(checksums).encode())

    def _checked(self, number: SupportsIndex) -> int:
        try:
            index = operator.index(number)
        except TypeError:
            raise TypeError(
                f"records have whole numbers, got {number!r}: take those of a slice "
                "one by one, and keys with by_key"
            ) from None
        if not -len(self) <= index < len(self):
            raise IndexError(f"no record {index}: {self._source.name} has {len(self)}")
        return index % len(self)


def _open_again(reopen: Callable[[], MapDataset], fingerprint: str) -> MapDataset:
    """Opens a dataset that was pickled.

    Raises:
        DatasetError: It has changed since.
    """
    dataset = reopen()
    if dataset._fingerprint != fingerprint:
        raise DatasetError(
            f"{dataset._source.name} has changed since this dataset was opened: open "
            "it again"
        )
    return dataset
