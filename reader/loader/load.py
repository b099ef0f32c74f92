"""Implements `reader.load`, the entry point: patterns → run → records → batches."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from reader.config import defaults
from reader.config.arguments import config_of
from reader.config.read_config import CaptionWeights, ReadConfig
from reader.datasets.layers import Layers
from reader.datasets.open_sources import Patterns, open_record_sources
from reader.datasets.record_schema import RecordSchema, merge_record_schemas
from reader.datasets.shard_cache import keep_copies
from reader.decode.captions import by_length
from reader.decode.missing_captions import MissingCaptions
from reader.decode.outputs import fit
from reader.loader.batch_dataset import Batches
from reader.loader.batches import decode, deliver, num_held, pixel_workers
from reader.loader.compressed import load_unplanned
from reader.loader.fetched_reads import FetchedReads
from reader.loader.worker_batches import can_read_by_workers, worker_batches
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.records.damaged_records import DamagedRecords
from reader.records.window_reads import local_windows, read_records
from reader.remote_records.access import access_to
from reader.schedule.run import Run, plan_mixed_run, plan_run
from reader.schedule.stream_advice import advise_streams
from reader.schedule.windows import Windows
from reader.selections.choose import Selected, choose_all
from reader.shuffle.steps import EndlessSteps, Steps
from reader.streaming.batches import batch_reader
from reader.streaming.budget import chunk_size, concurrency_of, fetched_bytes


def load(
    pattern: Patterns,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    split: str | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
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
    caption: str | CaptionWeights = defaults.CAPTION,
    max_captions: int | None = defaults.MAX_CAPTIONS,
    bucket_by_length: bool = defaults.BUCKET_BY_LENGTH,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    streams: int = defaults.STREAMS,
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
    workers: int | None = defaults.WORKERS,
    ram_budget: int | None = defaults.RAM_BUDGET,
    prefetch: int = defaults.PREFETCH,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = defaults.CACHE_BYTES,
) -> tf.data.Dataset:
    """Loads a dataset as a `tf.data.Dataset` of shuffled, decoded batches.

        batches = reader.load("out/train-*", batch_size=256, image_size=224)
        for batch in batches:
            train_step(batch["image"], batch["tokens"], batch["mask"])

    Each new iterator over the Dataset is the next epoch. With `shuffle=True`, each
    epoch has a different order. The order depends on the records, `seed`,
    `shuffle_bytes`, `streams` and `bucket_by_length`, and not on the number of hosts or
    threads. Reading can start at any step without replaying the steps before it.
    docs/reading.md explains the arguments in detail.

    Args:
        pattern: Records to read: a shard glob such as `"out/train-*.tfrecord"`, the
            folder of a dataset, or a list of these, which is read as one dataset. A
            dictionary `{pattern: weight}` is a mixture, which samples each pattern in
            proportion to its weight. Mixtures are endless and need `epochs=None`.
        batch_size: Number of examples per step, over all hosts. It must be divisible by
            `host_count`.
        image_size: Size of the returned images in pixels, as one side or as (height,
            width). The default None returns images in their stored size, which must be
            the same for all images.
        split: Name of the split to read, such as `"train"`. It is required if `pattern`
            is a folder with several splits.
        select: Selection of records to read, made by `diptych select`: the path of its
            folder, its name in the dataset's `selections/`, or a list of these for
            several datasets, each of which is matched with its own. The default None
            reads all records. The order of a selection depends on its records alone,
            and a selection of all records has the order without one.
        where: Condition on the columns of the dataset's `samples/`, such as
            `"extra/clip_score > 0.3 and width >= 256"`. Only records that meet it are
            read, of those that `select` names. docs/selections.md explains the
            language.
        layers: Layers to read with the records, which `diptych layer` made: the name of
            one in the dataset's `layers/`, the path of its folder (with a slash, such
            as `"./clip-b32"`), or a list of these. Their columns are further outputs,
            and captions that replace those of the dataset take their place, with their
            token ids and tokenizer. Order and images stay the same. The default None
            reads no layers.
        crop: Region of each image that is resized to `image_size`, with an antialiased
            bilinear filter. `"center"` (default) is a centered region with the aspect
            ratio of `image_size`. `"random"` is such a region at a random position.
            `"random_resized"` is a region of random position, area and aspect ratio
            (Szegedy et al., 2015, section 6). `"none"` is the whole image, stretched.
        crop_fraction: Side length of the `"center"` or `"random"` region, as a fraction
            of the largest region that fits in the image. The default 0.875 crops 224
            pixels from 256 without resampling.
        crop_scale: Minimum and maximum area of a `"random_resized"` region, as
            fractions of the image's area. The default is (0.08, 1.0).
        crop_ratio: Minimum and maximum aspect ratio, width ÷ height, of a
            `"random_resized"` region. The default is (3/4, 4/3).
        flip: Whether to flip each image left to right with probability 0.5. The default
            is False, since captions may mention left and right.
        dtype: Data type of images. `"float32"` (default) and `"bfloat16"` have values
            in [0, 1], `"uint8"` has values from 0 to 255.
        normalize: Mean and standard deviation for images in [0, 1], as a pair (mean,
            std) of numbers or of one number per channel. Images become (image - mean) ÷
            std. `"imagenet"` selects the values of torchvision's models, `"clip"` those
            of OpenAI's CLIP. The default None does not normalize.
        data_format: Axis order of images: `"channels_last"` (default) for
            [batch, height, width, 3], or `"channels_first"` for
            [batch, 3, height, width].
        max_tokens: Length of token rows, 64 tokens by default. Shorter captions are
            padded and longer ones truncated. Start and end tokens count.
        add_special_tokens: Whether to add the tokenizer's start and end tokens to each
            caption, if the tokenizer defines them. Truncated captions keep both. The
            default is True.
        caption: Captions to return of each example. `"first"` (default) returns the
            first caption. `"random"` returns a caption drawn at random in each epoch.
            `"all"` returns all captions, which adds a dimension, and adds the output
            `caption_valid`. Weights of names, such as `{"alt": 0.2, "recap": 0.8}`,
            return one caption: a name is drawn by its weight in each epoch, among those
            that the example has, and then one of its captions of that name. Captions
            without a name are called `base`, and those of a layer like the layer.
            `missing_captions` of the result counts examples that lack a name.
        max_captions: Number of captions per example for `caption="all"`. The default
            None is the largest number of captions that an example of the dataset has.
        bucket_by_length: Whether to group captions of similar length in a batch, to
            reduce padding. Token rows are then only as wide as the longest caption of
            the batch, rounded up to a multiple of 8. The default is False.
        shuffle: Whether to shuffle the records, differently in each epoch. False reads
            them in the order in which they were written. The default is True.
        seed: Seed of the shuffled order and of random crops, flips and captions: an
            integer of at least 0, by default 0. Runs with the same seed and settings
            return the same batches.
        shuffle_bytes: Size of the shuffle window in bytes of encoded records, over all
            hosts. The default is 64 MiB. Each host holds at most two windows of
            `shuffle_bytes // host_count` bytes in memory.
        streams: Number of streams that the shuffled order takes records from in turn,
            from 1 to 8192. The default is 192. Neighbors in a file that are alike, as
            in files sorted by another tool, meet in a batch that is larger than
            `streams`. More streams avoid that and make reads smaller, unless
            `shuffle_bytes` grows with them. Each number gives another order.
        epochs: Number of epochs of an iterator, 1 by default. The next iterator
            continues with the epochs that follow. With None, iterators are endless, and
            each one starts at the same step.
        start_step: Index of the first step to return, counted from 0 over all epochs.
            The default 0 starts at the beginning.
        start_example: Index of the first example to return, counted from 0 over all
            epochs. It replaces `start_step` if the batch size changes between runs.
            Every epoch counts all of its examples, including dropped ones.
        resume: State from `reader.state` to resume from, as a dictionary or as JSON
            text. A state of other records, or of another seed or order, raises a
            UsageError. `batch_size` and `host_count` may differ.
        host_index: Index of this host, from 0 (default) to `host_count - 1`.
        host_count: Number of hosts that share each step, 1 by default. Each host reads
            and returns its own `batch_size // host_count` examples of a step. Any
            divisor of `batch_size` up to 4096 will do. The examples of a step are the
            same for all of them.
        remainder: Handling of the last examples of an epoch, which do not fill a batch.
            `"drop"` (default) drops them, at most `batch_size - 1` and different ones
            in each epoch if shuffled. `"pad"` returns them in a padded batch and adds
            the output `valid`.
        on_corrupt: Handling of damaged records. `"raise"` (default) raises a
            DatasetError with file, byte offset and key. `"skip"` replaces the record
            with a nearby one, sets `valid` to False there, and logs a warning.
        outputs: Names of the outputs to return, as tuples in this order: `image`,
            `encoded`, `tokens`, `mask`, `length`, `key`, `caption`, `caption_valid`,
            `caption_name`, `height`, `width`, `dataset`, `valid`, extra columns such as
            `extra/score`, and those of layers such as `clip-b32/score`. The default
            None returns dictionaries. Other outputs are neither parsed nor decoded.
        features: Feature names of TFRecords from other tools, by role, such as
            `{"image": "image/encoded", "caption": "text"}`. The roles are `image`,
            `caption`, `ids` (token ids), `lengths` (number of ids per caption), `key`,
            `height` and `width`. Common names are detected without this argument.
        num_threads: Number of threads that parse. The default None uses one thread per
            core.
        workers: Number of processes that decode, crop, resize and cast images, in
            memory that they share with this process. The default None starts
            `num_threads` processes at the first batch, on Linux and macOS. 0 starts
            none: threads of this process make the same images. A training loop that
            is busy in Python slows threads down, but not processes.
        ram_budget: Limit for the memory of reading, in bytes, in addition to what an
            imported TensorFlow uses (about 700 MB). The default None sets no limit and
            keeps all threads busy.
        prefetch: Number of batches to prepare in advance, 2 by default.
        cache: Local folder for copies of the shards. Shards are copied and their
            checksums verified before reading starts. The default None reads shards in
            place, those in buckets by the byte ranges of the records that come next.
        cache_bytes: Most space of the cache, in bytes, at least 8 MiB. The cache then
            keeps ranges of shards in buckets while they are read, checked when read
            again, in place of whole shards before reading starts. What the plan needs
            latest is evicted. Processes of a host may share the folder, which is on a
            local disk. The default None copies whole shards.

    Returns:
        A `tf.data.Dataset` of batches, whose `len` is the exact number of batches of
        the first iterator. Endless iterators have no `len`.

        By default, a batch is a dictionary, in which `batch` is
        `batch_size // host_count`:

            image   float32[batch, height, width, 3] in [0, 1]
            tokens  int32[batch, max_tokens]
            mask    bool[batch, max_tokens], True where tokens are not padding
            valid   bool[batch], only with `remainder="pad"`: False for padding

        With `caption="all"`, `tokens` and `mask` are [batch, captions, max_tokens], and
        `caption_valid` is bool[batch, captions]: False where an example has no such
        caption.

        Further `outputs` are:

            encoded        string[batch], images as stored: JPEG, PNG or raw pixels
            length         int32[batch], number of tokens that are not padding
            key            string[batch], unique key of the example
            caption        string[batch], text of the returned caption
            caption_name   string[batch], its name, if captions have names
            height, width  int32[batch], size of the stored image in pixels
            extra/<name>   float32, int64 or string, [batch] or [batch, n]
            <layer>/<name>     as extra/<name>, of a layer; 0 or "" where it has none
            <layer>/present    int64[batch], 1 where the layer has something, or else 0

    Raises:
        UsageError: An argument is invalid, or the records do not provide a requested
            output. A `UsageError` is a `ValueError`.
        DatasetError: A dataset is unfinished, a shard is missing or has the wrong size,
            or an index is damaged.
    """
    config = config_of(locals())
    record_sources, weights = open_record_sources(
        pattern, split, features, layers, tolerant=on_corrupt == "skip"
    )
    record_schema = merge_record_schemas(
        {source.name: source.record_schema for source in record_sources}
    )
    record_sources = choose_all(record_sources, select, where)
    config = fit(config, record_schema)
    concurrency_of(config)  # Raises if `ram_budget` is too small.
    if any(source.compression for source in record_sources):
        return load_unplanned(record_sources, record_schema, config, resume)
    if weights is None:
        run = plan_run(record_sources[0], config, resume)
    else:
        run = plan_mixed_run(record_sources, weights, config, resume)
    if resume is None:
        advise_streams(run.index.shards, config)
    if config.resources.shard_folder is not None:
        run = run.moved(keep_copies(run.index.files, config.resources.shard_folder))
    return _stream(run, record_schema, config)


def _stream(run: Run, record_schema: RecordSchema, config: ReadConfig) -> Batches:
    key = record_schema.features["key"].key if "key" in record_schema.features else None
    damaged = DamagedRecords(run.index, config.on_corrupt, key)
    windows = run.windows(config, at_end=damaged.report)
    if can_read_by_workers(run.index, record_schema, config):
        read, workers, missing = _by_workers(windows, damaged, record_schema, config)
    else:
        read, workers, missing = _by_tensorflow(windows, damaged, record_schema, config)

    def build() -> tf.data.Dataset:
        return deliver(read(), config, _length(run.steps))

    names = config.names if config.outputs is None else None
    return Batches(
        build,
        run.steps,
        run.identity,
        windows,
        damaged,
        names,
        workers=workers,
        missing=missing,
    )


# A function that builds the Dataset of batches, the workers that make images, and the
# counts of captions that examples lack.
_Reading = tuple[
    Callable[[], tf.data.Dataset], PixelWorkers[Any] | None, MissingCaptions
]


def _by_workers(
    windows: Windows,
    damaged: DamagedRecords,
    record_schema: RecordSchema,
    config: ReadConfig,
) -> _Reading:
    """Has the pixel workers read, parse and decode."""
    reader = batch_reader(
        windows,
        record_schema,
        config,
        damaged,
        num_workers=concurrency_of(config).workers,
        held=num_held(config),
    )

    def read() -> tf.data.Dataset:
        return worker_batches(windows, reader, record_schema, config)

    return read, reader.workers, reader.missing


def _by_tensorflow(
    windows: Windows,
    damaged: DamagedRecords,
    record_schema: RecordSchema,
    config: ReadConfig,
) -> _Reading:
    """Has TensorFlow read and parse, and pixel workers decode."""
    access = access_to(windows, config, damaged, fetched_bytes(config))
    is_local = access.memory is None
    fetched = None if is_local else FetchedReads(windows, access, damaged)
    workers = pixel_workers(record_schema, config)
    missing = MissingCaptions(config.caption_weights)

    def read() -> tf.data.Dataset:
        arrange = by_length(record_schema, config) if config.bucket_by_length else None
        source = fetched.source() if fetched else local_windows(windows, damaged)
        chunk = chunk_size(config.host_batch_size)
        records = read_records(source, chunk, arrange)
        return decode(records, record_schema, config, workers, missing)

    return read, workers, missing


def _length(steps: Steps | EndlessSteps) -> int | None:
    """Returns the cardinality of every iterator for TensorFlow; None if it varies.

    It varies if the first iterator starts within an epoch: later ones are longer.
    """
    length = steps.length()
    if length is None:
        return int(tf.data.INFINITE_CARDINALITY)
    return length if length == steps.length(1) else None
