"""START HERE: patterns → run → records → examples → batches."""

import os
import warnings
import weakref
from collections.abc import Mapping, Sequence

import tensorflow as tf

from reader.config import defaults
from reader.config.image_config import (
    ImageConfig,
    dtype_name,
    image_size_pair,
    mean_and_std,
)
from reader.config.read_config import (
    ReadConfig,
    Resources,
    folder_name,
    output_names,
)
from reader.contract.checks import number_range
from reader.contract.errors import UsageError
from reader.contract.tokenizers.protocol import Tokenizer
from reader.datasets.manifest_dataset import open_dataset
from reader.datasets.record_index import ShardFile
from reader.datasets.record_schema import RecordSchema, merge_record_schemas
from reader.datasets.record_source import Patterns, open_record_sources
from reader.datasets.shard_cache import keep_copies
from reader.decode.captions import by_length
from reader.decode.outputs import fit
from reader.decode.raw_images import can_be_held, image_taker
from reader.loader.batch_dataset import Batches
from reader.loader.batches import deliver
from reader.loader.budget import calls_at_a_time, chunk_size
from reader.loader.compressed import load_unplanned
from reader.records.damaged_records import DamagedRecords
from reader.records.memory import Arrays
from reader.records.raw_windows import RawRecords
from reader.records.window_reads import fetch_raw, fetch_records, read_records
from reader.schedule.run import Run, plan_mixed_run, plan_run
from reader.shuffle.steps import EndlessSteps, Steps
from reader.storage.files import Pattern, is_remote, is_s3


def load(
    pattern: Patterns,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    split: str | None = None,
    crop: str = defaults.CROP,
    crop_fraction: float = defaults.CROP_FRACTION,
    crop_scale: tuple[float, float] = defaults.CROP_SCALE,
    crop_ratio: tuple[float, float] = defaults.CROP_RATIO,
    flip: bool = defaults.FLIP,
    dtype: str = defaults.DTYPE,
    normalize: str | Sequence[object] | None = None,
    data_format: str = defaults.DATA_FORMAT,
    max_tokens: int = defaults.MAX_TOKENS,
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS,
    caption: str = defaults.CAPTION,
    max_captions: int | None = defaults.MAX_CAPTIONS,
    bucket_by_length: bool = defaults.BUCKET_BY_LENGTH,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    epochs: int | None = defaults.EPOCHS,
    start_step: int = defaults.START_STEP,
    start_example: int | None = defaults.START_EXAMPLE,
    resume: object = None,
    host_index: int = defaults.HOST_INDEX,
    host_count: int = defaults.HOST_COUNT,
    remainder: str = defaults.REMAINDER,
    on_corrupt: str = defaults.ON_CORRUPT,
    outputs: Sequence[str] | None = None,
    features: Mapping[str, str] | None = None,
    num_threads: int | None = defaults.NUM_THREADS,
    ram_budget: int | None = defaults.RAM_BUDGET,
    prefetch: int = defaults.PREFETCH,
    cache: str | os.PathLike[str] | None = None,
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
        crop: Which region of an image is resampled (bilinear, antialiased) to
            `image_size`: `"center"`, one of its aspect ratio in the middle; `"random"`,
            the same anywhere; `"random_resized"`, one of random area and shape
            (Inception's: Szegedy et al., 2015, section 6); `"none"`, all of it,
            stretched.
        crop_fraction: How much of the largest region of that aspect ratio to take,
            along each side. The default, 0.875, cuts 224 pixels of 256 with no
            resampling.
        crop_scale: Smallest and largest share of the area, for `"random_resized"`.
        crop_ratio: Smallest and largest width by height, likewise.
        flip: Whether to mirror every second image, by chance, left to right. Captions
            may say "left".
        dtype: Of images: `"float32"` or `"bfloat16"` in [0, 1], or `"uint8"`.
        normalize: (mean, standard deviation) of images in [0, 1], a number or one of
            each channel: subtracted, and divided by. `"imagenet"` has those of
            torchvision's models, `"clip"` those of OpenAI's CLIP.
        data_format: `"channels_last"` or `"channels_first"`.
        max_tokens: Captions are padded or cut to this, 64 by default; start and end
            count.
        add_special_tokens: Whether captions begin with the tokenizer's start token
            and close with its end token, where it has these; kept when cutting.
        caption: `"first"` of an example's captions; `"random"`, a new one each epoch;
            or `"all"`, which adds a dimension, and `caption_valid`.
        max_captions: Of an example, with `"all"`; None for as many as any has.
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
            `tokens`, `mask`, `length`, `key`, `caption`, `caption_valid`, `height`,
            `width`, `valid`, and columns that were carried through, such as
            `extra/score`.
        features: For TFRecords that others wrote, which keys hold what, such as
            `{"image": "image/encoded", "caption": "text"}`; also `ids`,
            `lengths` (how many ids each caption has, where there are several), `key`,
            `height` and `width`. What has a usual name is found without.
        num_threads: To parse and decode with; None for one per core.
        ram_budget: Bytes that reading may take, beside TensorFlow itself; None for
            what keeps all threads busy.
        prefetch: Batches made ahead.
        cache: A local folder to copy shards to, checked, before reading them there; for
            data that is far away.

    Returns:
        A `tf.data.Dataset` whose `len` is exact.

        A batch is a dictionary:

            image   float32[batch, height, width, 3] in [0, 1]
            tokens  int32[batch, max_tokens]
            mask    bool[batch, max_tokens], True where tokens are not padding
            valid   bool[batch], with `remainder="pad"`: False where nothing is

        With `caption="all"`, `tokens` and `mask` are [batch, captions, max_tokens], and
        there is `caption_valid` bool[batch, captions]. On request it holds

        `length` int32[batch], `key` and `caption` string[batch],
        `height` and `width` (as stored) int32[batch], columns float32, int64 or
        string[batch], or of *n* values [batch, n]; `batch` is `batch_size //
        host_count`.

    Raises:
        UsageError: An argument is wrong (a `ValueError`).
        DatasetError: A dataset is unfinished or not whole.
    """
    config = ReadConfig(
        batch_size=batch_size,
        images=ImageConfig(
            size=image_size_pair(image_size),
            crop=crop,
            fraction=crop_fraction,
            scale=number_range("crop_scale", crop_scale),
            ratio=number_range("crop_ratio", crop_ratio),
            flip=flip,
            dtype=str(dtype_name(dtype)),
            normalize=mean_and_std(normalize),
            data_format=data_format,
        ),
        max_tokens=max_tokens,
        add_special_tokens=add_special_tokens,
        caption=caption,
        max_captions=max_captions,
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
        resources=Resources(
            num_threads=num_threads,
            ram_budget=ram_budget,
            prefetch=prefetch,
            cache=folder_name(cache),
        ),
    )
    record_sources, weights = open_record_sources(
        pattern, split, features, tolerant=on_corrupt == "skip"
    )
    record_schema = merge_record_schemas(
        {source.name: source.record_schema for source in record_sources}
    )
    config = fit(config, record_schema)
    calls_at_a_time(config)  # Is there memory enough?
    if any(source.compression for source in record_sources):
        return load_unplanned(record_sources, record_schema, config, resume)
    if weights is None:
        run = plan_run(record_sources[0], config, resume)
    else:
        run = plan_mixed_run(record_sources, weights, config, resume)
    if config.resources.cache is None:
        _check_readable(run.index.shards)
        _check_read_ahead(run.index.shards)
    else:
        run = run.moved(keep_copies(run.index.shards, config.resources.cache))
    return _stream(run, record_schema, config)


def _stream(run: Run, record_schema: RecordSchema, config: ReadConfig) -> Batches:
    key = record_schema.features["key"].key if "key" in record_schema.features else None
    damaged = DamagedRecords(run.index, config.on_corrupt, key)
    windows = run.windows(config, at_end=damaged.report)
    arrays = Arrays()  # Kept by `build`, and that by Batches.

    def build() -> tf.data.Dataset:
        arrange = by_length(record_schema, config) if config.bucket_by_length else None
        chunk = chunk_size(config.host_batch_size)
        fetch, take_images = fetch_records(run.index, damaged), None
        if can_be_held(run.index, record_schema, config):
            image, room = record_schema.features["image"].key, weakref.ref(arrays)
            fetch = fetch_raw(RawRecords(run.index, damaged, image, room))
            take_images = image_taker(record_schema, config, room)
            chunk = config.host_batch_size
        records = read_records(windows, fetch, chunk, arrange, take_images)
        return deliver(records, record_schema, config, _length(run.steps))

    names = config.names if config.outputs is None else None
    return Batches(build, run.steps, run.identity, windows, damaged, names)


def _check_readable(shards: Sequence[ShardFile]) -> None:
    for shard in shards:
        if is_s3(shard.path):
            raise UsageError(
                f"TensorFlow does not read {shard.path}: pass cache=FOLDER, a local "
                "folder that shards are copied to, and checked"
            )


def _check_read_ahead(shards: Sequence[ShardFile]) -> None:
    """Warns where TensorFlow will fetch many times what is read of a bucket."""
    remote = any(is_remote(shard.path) for shard in shards)
    if remote and not os.environ.get("GCS_READAHEAD_BUFFER_SIZE_BYTES"):
        warnings.warn(
            "TensorFlow was imported before reader, and will fetch 64 MB of a file "
            "for each piece of 1 MB: import reader first, or set "
            "GCS_READAHEAD_BUFFER_SIZE_BYTES=0 before",
            stacklevel=3,
        )


def _length(steps: Steps | EndlessSteps) -> int | None:
    """Returns how many batches TensorFlow may count on; None for no such number.

    Where the first iterator is what is left of an epoch, later ones have more.
    """
    length = steps.length()
    if length is None:
        return int(tf.data.INFINITE_CARDINALITY)
    return length if length == steps.length(1) else None


def tokenizer(folder: Pattern) -> Tokenizer:
    """Returns the tokenizer of a dataset, to encode queries and decode ids.

        tokenizer = reader.tokenizer("out")
        tokenizer.encode("a red circle")        # [5, 9, 4]
        tokenizer.decode(batch["tokens"][0])    # "a red circle"

    Args:
        folder: Of the dataset.

    Raises:
        UsageError: A library that the tokenizer needs is not installed.
        DatasetError: There is no finished dataset, or its tokenizer has changed.
    """
    return open_dataset(folder).tokenizer()
