"""START HERE: `reader.open`, random access to records without TensorFlow."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from reader.contract.errors import UsageError
from reader.datasets.foreign_schema import check_features
from reader.datasets.layers import Layers, NamedLayers
from reader.datasets.open_sources import Patterns, list_patterns, open_record_source
from reader.datasets.record_source import RecordSource
from reader.decode.numpy_examples import RECORD_OUTPUTS, makers
from reader.map_dataset.map_dataset import MapDataset
from reader.records.random_access import RecordFiles
from reader.selections.choose import Selected, choose


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
) -> MapDataset:
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
