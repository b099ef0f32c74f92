"""Random access to records without TensorFlow, for map-style loaders and inspection.

Each access reads a record, verifies its checksum, and parses and decodes it. Only open
files, record offsets and, after `by_key`, hashes of keys stay in memory.
"""

import dataclasses
import functools
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from reader.config import defaults
from reader.config.image_config import ImageConfig, image_config
from reader.config.read_config import (
    CaptionWeights,
    ReadConfig,
    Resources,
    check_names,
    folder_name,
    output_names,
)
from reader.contract.checks import check_at_least
from reader.contract.errors import DatasetError, UsageError
from reader.contract.record import crc32c_hex, parse_example
from reader.datasets.foreign_schema import check_features
from reader.datasets.layers import Layers, NamedLayers
from reader.datasets.open_sources import Patterns, list_patterns, open_record_source
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import read_samples
from reader.decode.numpy_examples import RECORD_OUTPUTS, Make, Place, makers
from reader.map_dataset.key_index import Keys
from reader.records.random_access import RecordFiles
from reader.schedule.state import digest
from reader.selections.choose import Selected, choose
from reader.shuffle.subset import NOT_CHOSEN, Chosen, KeptRecords, unpack

# Examples that iterating reads together.
_READ_TOGETHER = 64


def open(
    pattern: Patterns,
    *,
    split: str | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
    outputs: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    crop: str = defaults.CROP,
    crop_fraction: float = defaults.CROP_FRACTION,
    crop_scale: tuple[float, float] = defaults.CROP_SCALE,
    crop_ratio: tuple[float, float] = defaults.CROP_RATIO,
    flip: bool = defaults.FLIP,
    dtype: str = "uint8",
    normalize: str | Sequence[object] | None = None,
    data_format: str = defaults.DATA_FORMAT,
    seed: int = defaults.SEED,
    max_tokens: int = defaults.MAX_TOKENS,
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS,
    caption: str | CaptionWeights = defaults.CAPTION,
    transform: Callable[[Any], Any] | None = None,
    features: Mapping[str, str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = defaults.CACHE_BYTES,
) -> "MapDataset":
    """Opens a dataset for random access by record number, without TensorFlow.

        dataset = reader.open("out", split="train")
        dataset[0]["image"]                 # uint8[height, width, 3], as stored
        dataset.by_key("park/0042")["tokens"]

    The result is a map-style dataset for PyTorch's `DataLoader`. From a bucket, the
    records of a batch are fetched at the same time, also by forked and spawned workers.

    Args:
        pattern: Shard glob such as `"out/train-*.tfrecord"`, dataset folder, or list of
            these, read as one larger dataset.
        split: Split to read, if `pattern` is a folder with several splits.
        select: Selection of records, as in `load`. The others are not in the dataset.
            Weights of a selection only count for `reader.sampler`.
        where: Condition that records have to meet, as in `load`.
        layers: Layers to read with the records, as in `load`.
        outputs: Names of outputs. If given, examples are tuples in this order instead
            of dictionaries.
        image_size: Size of the images in pixels, as one side or as (height, width).
            None for images as stored; the next eight arguments then have no effect and
            are refused.
        crop: Region of each image that is resized to `image_size`: `"center"`,
            `"random"`, `"random_resized"` or `"none"`, as in `load`.
        crop_fraction: Side length of the `"center"` or `"random"` region, as a fraction
            of the largest region that fits in the image.
        crop_scale: Minimum and maximum area of a `"random_resized"` region, as a
            fraction of the image's area.
        crop_ratio: Minimum and maximum aspect ratio of a `"random_resized"` region,
            width / height.
        flip: Whether images are flipped horizontally with a probability of 1/2.
        dtype: Type of pixel values: `"uint8"`, or `"float32"` in [0, 1].
        normalize: Mean and standard deviation of each channel: `"imagenet"`, `"clip"`
            or (mean, std).
        data_format: Order of dimensions: `"channels_last"` or `"channels_first"`.
        seed: Seed of random crops, flips and captions. They are those that `load` makes
            of a record in the epoch that `set_epoch` chooses.
        max_tokens: Number of tokens that captions are padded or truncated to, including
            start and end token.
        add_special_tokens: Whether captions start with the tokenizer's start token and
            end with its end token, if the tokenizer has these. Truncation keeps both.
        caption: Caption that `tokens`, `mask`, `length`, `caption` and `caption_name`
            are of: `"first"`; `"random"`, drawn again in each epoch; or weights of
            names such as `{"alt": 0.2, "recap": 0.8}`. They are the captions that
            `load` draws in the epoch that `set_epoch` chooses.
        transform: Function applied to each example. Spawned workers need a function
            defined in a module, not a lambda.
        features: Feature keys of foreign TFRecords (from other tools), by name, as in
            `load`.
        cache: Local folder for copies of the shards, as in `load`.
        cache_bytes: Most space of the cache, as in `load`. The records that were not
            read for the longest time are evicted, since the next ones are not known.

    Returns:
        A `MapDataset` of dictionaries.

        By default, a dictionary holds these outputs, if the records have them:

            image   uint8[height, width, 3], as stored; or with `image_size`, of that
                    size, dtype and data format
            tokens  int32[max_tokens], of the first caption, or as `caption` says
            mask    bool[max_tokens], True for tokens that are not padding

        `outputs` also accepts `length` (int, tokens), `height`, `width` (int, pixels of
        the image), `key` (str), `caption` (str), `captions` (list[str], all),
        `caption_name` and `caption_names` (their names, if captions have names),
        `encoded` (bytes, the image as stored), `dataset` (int, as in `load`), and extra
        columns: int, float32, float16, str, or a list of these (a NumPy array for
        numbers). Columns of layers are named such as `clip-b32/score`.

        The output `draws` is a dictionary of random numbers for a `transform`. They
        depend on nothing but the record, its epoch and `seed`:

            flip     float64 in [0, 1); `load` flips below 0.5
            caption  float64 in [0, 1); `load` takes `captions[int(caption * n)]` of n
            crop     float64[22] in [0, 1), of which `load` makes a `"random_resized"`
                     region
            seed     int of 63 bits, for a generator of your own

    Raises:
        UsageError: An argument is invalid (a `ValueError`), or a library is missing.
        DatasetError: A dataset is unfinished or incomplete.
    """
    # `locals` holds only arguments here. Records are not chosen again.
    reopen = functools.partial(open, **{**locals(), "select": None, "where": None})
    names = output_names(outputs)
    check_names(names, RECORD_OUTPUTS)
    if caption == "all":
        raise UsageError(
            'caption="all" is for batches: pass outputs=("captions", …) for all '
            "captions of a record"
        )
    images = image_config(
        image_size=image_size,
        crop=crop,
        crop_fraction=crop_fraction,
        crop_scale=crop_scale,
        crop_ratio=crop_ratio,
        flip=flip,
        dtype=dtype,
        normalize=normalize,
        data_format=data_format,
    )
    _check_images(images)
    config = ReadConfig(
        batch_size=1,
        images=images,
        seed=seed,
        max_tokens=max_tokens,
        add_special_tokens=add_special_tokens,
        caption=caption,
        resources=Resources(cache=folder_name(cache), cache_bytes=cache_bytes),
        outputs=("length",),  # With "tokens", each worker would warn about padding.
    )
    if transform is not None and not callable(transform):
        raise UsageError(f"transform must be a function, got {transform!r}")
    source = _open_source(pattern, split, features, layers)
    source = choose(source, select, where)
    make = makers(names, source.record_schema, config)
    files = RecordFiles(source, config.resources.cache, config.resources.cache_bytes)
    return MapDataset(source, files, make, names, transform, reopen)


def _check_images(images: ImageConfig) -> None:
    """Checks the arguments for images.

    Raises:
        UsageError: An argument needs `image_size`, or NumPy lacks the dtype.
    """
    if images.dtype == "bfloat16":
        raise UsageError(
            'NumPy has no bfloat16: pass dtype="float32" and cast on the accelerator'
        )
    if images.size is None and images != ImageConfig(dtype="uint8"):
        raise UsageError(
            "crop, flip, dtype, normalize and data_format change images of a given "
            "size: pass image_size"
        )


def _open_source(
    pattern: Patterns,
    split: str | None,
    features: Mapping[str, str] | None,
    layers: Layers,
) -> RecordSource:
    if isinstance(pattern, Mapping):
        raise UsageError(
            f"a mixture has no random access: open its parts separately, got {pattern}"
        )
    paths, named = list_patterns(pattern), NamedLayers(layers)
    source = open_record_source(
        paths, split, check_features(features), compressed=False, layers=named
    )
    named.check_used()
    return source


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
