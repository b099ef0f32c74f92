"""START HERE: patterns → run → records → examples → batches."""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence

import tensorflow as tf

from reader.batches import make_batches
from reader.buckets import by_length
from reader.captions import special_tokens
from reader.catalog import open_dataset
from reader.classic import read_compressed
from reader.config import ReadConfig, image_size_pair, is_extra, output_names
from reader.content import Content, merge_contents
from reader.contract.errors import UsageError
from reader.contract.tokenizers.protocol import Tokenizer
from reader.corpora import Patterns, open_corpora
from reader.corpus import Corpus
from reader.examples import make_examples, missing_roles
from reader.files import Pattern, is_remote
from reader.records import Element, read_records
from reader.repair import Repair
from reader.run import Run, plan_mixed_run, plan_run
from reader.steps import EndlessSteps, Steps
from reader.stream import Batches

# One batch being used, one ready, one being made.
_PREFETCH_BATCHES = 2


def load(
    pattern: Patterns,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    split: str | None = None,
    crop: str = "center",
    crop_fraction: float = 0.875,
    max_tokens: int = 64,
    add_special_tokens: bool = True,
    bucket_by_length: bool = False,
    shuffle: bool = True,
    seed: int = 0,
    shuffle_bytes: int = 64 << 20,
    epochs: int | None = 1,
    start_step: int = 0,
    start_example: int | None = None,
    resume: object = None,
    host_index: int = 0,
    host_count: int = 1,
    remainder: str = "drop",
    on_corrupt: str = "raise",
    outputs: Sequence[str] | None = None,
    features: Mapping[str, str] | None = None,
) -> tf.data.Dataset:
    """Streams datasets as batches, ready for the accelerator.

    Each new iterator is the next epoch; with `shuffle` it has an order of its own. The
    order depends on the records, `seed` and `shuffle_bytes` alone: a batch can be
    found by its number, on any number of hosts. docs/reading.md tells how.

    Args:
        pattern: A shard glob such as `"out/train-*.tfrecord"`, the folder of a
            dataset, a list of these, read as one larger dataset, or
            `{pattern: weight}`, a mixture without end (pass `epochs=None`).
        batch_size: Examples per step, over all hosts.
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
        bucket_by_length: Whether to sort windows by the length of captions. Batches
            are then as wide as their longest caption (in steps of 8), not `max_tokens`.
        shuffle: Whether to shuffle; False reads in the order written.
        seed: Equal seeds give equal orders.
        shuffle_bytes: How much to shuffle at a time, in encoded bytes, over all hosts.
            Up to twice as much is held.
        epochs: How many an iterator has; None for endless ones. Endless iterators all
            begin at the same step; others go on where the one before them ended.
        start_step: Begin before this step, whatever came before it.
        start_example: Begin at this example instead, on the line of all epochs, where
            each has all its examples, dropped or not.
        resume: Begin where `reader.state` was taken; it is refused if the order is
            another one. Hosts and batch size may change.
        host_index: Of this host.
        host_count: How many hosts share each step. Each gets `batch_size //
            host_count` examples of it, and reads no others.
        remainder: Of an epoch's examples, what makes no whole batch: `"drop"`, at most
            `batch_size - 1`, others each epoch; or `"pad"`, which fills up the batch
            and adds `valid`.
        on_corrupt: `"raise"` names a damaged record's file, offset and key; `"skip"`
            puts its neighbour in its place, where `valid` is False, and logs it.
        outputs: Names, in order, to get tuples instead of a dictionary: `image`,
            `tokens`, `mask`, `length`, `key`, `caption`, `height`, `width`, `valid`,
            and columns that were carried through, such as `extra/score`.
        features: For TFRecords that others wrote, which keys hold what, such as
            `{"image": "image/encoded", "caption": "text"}`; also `ids`, `key`,
            `height` and `width`. What has a usual name is found without.

    Returns:
        A `tf.data.Dataset`; its `len` is exact. A batch is a dictionary:

            image   float32[batch, height, width, 3] in [0, 1]
            tokens  int32[batch, max_tokens]
            mask    bool[batch, max_tokens], True where tokens are not padding
            valid   bool[batch], with `remainder="pad"`: False where nothing is

        and on request `length` int32[batch], `key` and `caption` string[batch],
        `height` and `width` (as stored) int32[batch], columns float32, int64 or
        string[batch], or of *n* values [batch, n]; `batch` is `batch_size //
        host_count`.

    Raises:
        UsageError: An argument is wrong (a `ValueError`).
        DatasetError: A dataset is unfinished or not whole.
    """
    config = ReadConfig(
        batch_size=batch_size,
        image_size=image_size_pair(image_size),
        crop=crop,
        crop_fraction=crop_fraction,
        max_tokens=max_tokens,
        add_special_tokens=add_special_tokens,
        bucket_by_length=bucket_by_length,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        epochs=epochs,
        start_step=start_step,
        start_example=start_example,
        host_index=host_index,
        host_count=host_count,
        remainder=remainder,
        on_corrupt=on_corrupt,
        outputs=output_names(outputs),
    )
    corpora, weights = open_corpora(
        pattern, split, features, tolerant=on_corrupt == "skip"
    )
    _check_read_ahead(corpora)
    content = merge_contents({corpus.name: corpus.content for corpus in corpora})
    config = _fit(config, content)
    if any(corpus.compression for corpus in corpora):
        return _load_classic(corpora, content, config, resume)
    if weights is None:
        run = plan_run(corpora[0], config, resume)
    else:
        run = plan_mixed_run(corpora, weights, config, resume)
    return _stream(run, content, config)


def _stream(run: Run, content: Content, config: ReadConfig) -> Batches:
    key = content.features["key"].key if "key" in content.features else None
    repair = Repair(run.index, config.on_corrupt, key)
    windows = run.windows(config, at_end=repair.report)
    arrange = by_length(content) if config.bucket_by_length else None
    records = read_records(windows, repair, arrange)
    examples = make_examples(records, content, config)
    batches = make_batches(examples, content, config)
    batches = _with_length(batches, run.steps).prefetch(_PREFETCH_BATCHES)
    options = tf.data.Options()
    # Each host has its share already.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    batches = batches.with_options(options)
    return Batches(batches, run.steps, run.identity, windows, repair)


def _check_read_ahead(corpora: Sequence[Corpus]) -> None:
    """Warns where TensorFlow will fetch many times what is read of a bucket."""
    remote = any(is_remote(shard.path) for c in corpora for shard in c.shards)
    if remote and not os.environ.get("GCS_READAHEAD_BUFFER_SIZE_BYTES"):
        warnings.warn(
            "TensorFlow was imported before reader, and will fetch 64 MB of a file "
            "for each piece of 1 MB: import reader first, or set "
            "GCS_READAHEAD_BUFFER_SIZE_BYTES=0 before",
            stacklevel=3,
        )


def _with_length(
    batches: tf.data.Dataset, steps: Steps | EndlessSteps
) -> tf.data.Dataset:
    """Tells TensorFlow how many batches there are.

    Where the first iterator is what is left of an epoch, later ones have more, and
    TensorFlow knows no number that holds for all.
    """
    length = steps.length()
    if length is None:
        length = tf.data.INFINITE_CARDINALITY
    elif length != steps.length(1):
        return batches
    return batches.apply(tf.data.experimental.assert_cardinality(length))


def _load_classic(
    corpora: Sequence[Corpus], content: Content, config: ReadConfig, resume: object
) -> tf.data.Dataset:
    """Reads compressed files as is usual: no plan, and nothing that needs one."""
    (corpus, *others) = corpora
    usual = ReadConfig(batch_size=1)
    planned = ("start_step", "start_example", "host_count", "remainder", "on_corrupt")
    for name in (*planned, "bucket_by_length"):
        if getattr(config, name) != getattr(usual, name):
            raise UsageError(_no_plan(corpus, f"{name}={getattr(config, name)!r}"))
    if resume is not None or others:
        raise UsageError(_no_plan(corpus, "weights" if others else "resume"))
    warnings.warn(_no_plan(corpus, "len, resuming and several hosts"), stacklevel=3)
    record_bytes = 64 << 10  # Nobody knows before reading them all.
    records = read_compressed(
        [shard.path for shard in corpus.shards],
        corpus.compression,
        seed=config.seed if config.shuffle else None,
        window=max(1, config.shuffle_bytes // record_bytes),
    )
    yes, no = tf.constant(True), tf.constant(False)
    elements = records.repeat(config.epochs).map(lambda r: Element(r, yes, no))
    batches = make_batches(make_examples(elements, content, config), content, config)
    return batches.prefetch(_PREFETCH_BATCHES)


def _no_plan(corpus: Corpus, what: str) -> str:
    return (
        f"{corpus.name} is compressed ({corpus.compression}), so its records have no "
        f"places to begin reading at: {what} cannot be had; write it uncompressed "
        "(images do not shrink further) to have them"
    )


def _fit(config: ReadConfig, content: Content) -> ReadConfig:
    """Returns the configuration with what the records decide.

    Raises:
        UsageError: Something is asked for that they do not hold.
    """
    if config.outputs is None:
        absent = [name for name in config.names if missing_roles(name, content)]
        if "image" not in absent:
            config = dataclasses.replace(config, absent=tuple(absent))
    for name in config.names:
        if missing_roles(name, content):
            raise UsageError(_not_held(name, content))
    if config.bucket_by_length and "token_ids" not in content.features:
        raise UsageError("bucket_by_length needs token ids, and the records hold none")
    special_tokens(content.tokenizer, config)  # Do they fit?
    if config.image_size is None and "image" in config.names:
        size = _stored_size(content)
        config = dataclasses.replace(config, image_size=size, crop="none")
    return config


def _not_held(name: str, content: Content) -> str:
    if is_extra(name):
        held = ", ".join(content.extras) or "no columns"
        return (
            f"outputs names {name}, but the dataset holds {held}: build it with "
            "--columns"
        )
    keys = ", ".join(feature.key for feature in content.features.values()) or "nothing"
    return (
        f"outputs names {name}, but of what is known of the records ({keys}) nothing "
        'is that: say which feature is, with features={"image": …, "caption": …, '
        '"ids": …}'
    )


def _stored_size(content: Content) -> tuple[int, int]:
    """Returns (height, width) of all stored images, where they have but one.

    Raises:
        UsageError: They have several, or it is not known.
    """
    width, height = content.width, content.height
    if width is None or height is None:
        raise UsageError(
            "image_size must be given: how large the stored images are is not known"
        )
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
