"""START HERE: shards → records → examples → batches."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from reader.batches import make_batches
from reader.captions import special_tokens
from reader.catalog import Pattern, Selection, open_dataset, select
from reader.config import ReadConfig, image_size_pair, is_extra, output_names
from reader.contract.errors import UsageError
from reader.contract.manifest import Statistics
from reader.contract.tokenizers.protocol import Tokenizer
from reader.examples import make_examples
from reader.records import read_records


def load(
    pattern: Pattern | Sequence[Pattern],
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    split: str | None = None,
    crop: str = "center",
    crop_fraction: float = 0.875,
    max_tokens: int = 64,
    add_special_tokens: bool = True,
    shuffle: bool = True,
    seed: int = 0,
    shuffle_bytes: int = 64 << 20,
    outputs: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """Streams a dataset as batches, ready for the accelerator.

    Each new iterator is the next epoch; with `shuffle` it has an order of its own.

    Args:
        pattern: A shard glob such as `"out/train-*.tfrecord"`, a list of these within
            one dataset, or the dataset's folder.
        batch_size: Examples per step. What is left over at the end of an epoch is
            dropped: at most `batch_size - 1` examples.
        image_size: Side, or (height, width), in pixels; None for images as stored,
            which must then have one size.
        split: Which split, where `pattern` is a folder that holds several.
        crop: `"center"`: a region in the middle with the aspect ratio of
            `image_size`; `"none"`: the whole image, stretched.
        crop_fraction: How much of the largest such region, along each side. The
            default, 0.875, cuts 224 pixels of 256 with no resampling.
        max_tokens: Captions are padded or cut to this; start and end count.
        add_special_tokens: Whether captions begin with the tokenizer's start token
            and close with its end token, where it has these; kept when cutting.
        shuffle: Whether to shuffle; False reads in the order written.
        seed: Equal seeds give equal orders, under one `tf.random.set_seed`.
        shuffle_bytes: How much to hold for shuffling, in encoded bytes.
        outputs: Names, in order, to get tuples instead of a dictionary: `image`,
            `tokens`, `mask`, `length`, `key`, `caption`, `height`, `width`, and columns
            that were carried through, such as `extra/score`.

    Returns:
        A `tf.data.Dataset`; its `len` is exact. A batch is a dictionary:

            image   float32[batch_size, height, width, 3] in [0, 1]
            tokens  int32[batch_size, max_tokens]
            mask    bool[batch_size, max_tokens], True where tokens are not padding

        and on request `length` int32[batch_size], `key` and `caption`
        string[batch_size], `height` and `width` (as stored) int32[batch_size], columns
        float32, int64 or string[batch_size], or of *n* values [batch_size, n].

    Raises:
        UsageError: An argument is wrong (a `ValueError`).
        DatasetError: The dataset is unfinished or not whole.
    """
    config = ReadConfig(
        batch_size=batch_size,
        image_size=image_size_pair(image_size),
        crop=crop,
        crop_fraction=crop_fraction,
        max_tokens=max_tokens,
        add_special_tokens=add_special_tokens,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        outputs=output_names(outputs),
    )
    selection = select(pattern, split)
    _check_extras(selection, config)
    special_tokens(selection.dataset.manifest.tokenizer, config)  # Do they fit?
    if selection.num_examples < config.batch_size:
        raise UsageError(
            f"batch_size must be at most the number of examples, "
            f"got {config.batch_size} and {selection.num_examples}: lower it"
        )
    if config.image_size is None and "image" in config.names:
        stored = _stored_size(selection)
        config = dataclasses.replace(config, image_size=stored, crop="none")
    records = read_records(selection, config)
    examples = make_examples(records, selection.dataset.manifest, config)
    batches = make_batches(examples, config)
    return batches.apply(
        tf.data.experimental.assert_cardinality(selection.num_examples // batch_size)
    )


def _check_extras(selection: Selection, config: ReadConfig) -> None:
    features = selection.dataset.manifest.features
    held = [feature.key for feature in features if is_extra(feature.key)]
    for name in filter(is_extra, config.names):
        if name not in held:
            raise UsageError(
                f"outputs names {name}, but the dataset holds "
                f"{', '.join(held) or 'no columns'}: build it with --columns"
            )


def _stored_size(selection: Selection) -> tuple[int, int]:
    """Returns (height, width) of all stored images, where they have but one.

    Raises:
        UsageError: They have several.
    """
    statistics = Statistics()
    for split in selection.splits:
        statistics = statistics.merge(split.statistics)
    width, height = statistics.width, statistics.height
    if (width.min, height.min) != (width.max, height.max):
        raise UsageError(
            "image_size must be given: stored images are "
            f"{width.min} to {width.max} pixels wide and {height.min} to "
            f"{height.max} high"
        )
    return height.min, width.min


def tokenizer(folder: Pattern) -> Tokenizer:
    """Returns the tokenizer of a dataset, to encode queries and decode ids.

        tokenizer = reader.tokenizer("out")
        tokenizer.encode("a red circle")        # [5, 9, 4]
        tokenizer.decode(batch["tokens"][0])    # "a red circle"

    Raises:
        UsageError: A library that the tokenizer needs is not installed.
        DatasetError: There is no finished dataset, or its tokenizer has changed.
    """
    return open_dataset(folder).tokenizer()
