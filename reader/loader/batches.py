"""Batches examples, and has their images made."""

import weakref
from collections.abc import Callable

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.datasets.record_schema import RecordSchema
from reader.decode.batch_pixels import MakePixels, black, pixel_maker
from reader.decode.captions import nothing
from reader.decode.examples import PIXEL_DRAWS, SIZES, make_examples
from reader.decode.missing_captions import MissingCaptions
from reader.decode.named_captions import MISSING
from reader.decode.outputs import bucket_width, pad_id
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.engine import PixelEngine
from reader.records.python_calls import call_python, weakly
from reader.streaming.budget import concurrency_of


def make_batches(
    examples: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    num_calls: int,
    make_pixels: MakePixels | None,
    get_missing: Callable[[], MissingCaptions] | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of batches: dictionaries, or tuples in the order of `outputs`.

    Images are made after batching, one call for a batch, so that encoded bytes are
    batched and not pixels.

    Args:
        examples: Dataset of chunks of examples, of any size.
        record_schema: Schema of the records.
        config: Read configuration.
        num_calls: Number of batches to process concurrently.
        make_pixels: Function that makes the images of a batch; None without images.
        get_missing: Returns what counts captions that examples lack; None if captions
            are not drawn by name.
    """
    batches = examples.rebatch(config.host_batch_size, drop_remainder=True)
    pad = pad_id(record_schema.tokenizer)

    def finish(batch: dict[str, tf.Tensor]) -> object:
        if PIXEL_DRAWS in batch and make_pixels is not None:
            sizes, draws = batch.pop(SIZES, None), batch.pop(PIXEL_DRAWS)
            batch["image"] = make_pixels(batch["image"], sizes, draws)
        if MISSING in batch and get_missing is not None:
            missing = batch.pop(MISSING)
            blank = batch.get("blank", tf.zeros(tf.shape(missing)[:1], tf.bool))
            (noted,) = call_python(
                lambda *noted: get_missing().note(*noted), [missing, blank], [tf.int64]
            )
            # The call is made although nothing uses what it returns.
            with tf.control_dependencies([noted]):
                batch = {name: tf.identity(each) for name, each in batch.items()}
        if "blank" in batch:
            batch = _clear_blanks(batch, pad, config)
        if config.bucket_by_length and "tokens" in batch:
            batch["tokens"] = _trim_padding(batch["tokens"], batch["length"])
        if "mask" in config.names:
            positions = tf.range(tf.shape(batch["tokens"])[-1])
            batch["mask"] = positions < batch["length"][..., tf.newaxis]
            batch["mask"].set_shape(batch["tokens"].shape)
        if config.outputs is None:
            return {name: batch[name] for name in config.names}
        return tuple(batch[name] for name in config.outputs)

    return batches.map(finish, num_parallel_calls=num_calls, deterministic=True)


def _clear_blanks(
    batch: dict[str, tf.Tensor], pad: int, config: ReadConfig
) -> dict[str, tf.Tensor]:
    """Clears the positions of a batch without an example: black, pad and empty text.

    Only the last batch of an epoch has such positions.
    """
    blank = batch.pop("blank")

    def clear() -> dict[str, tf.Tensor]:
        return {name: cleared(name, values) for name, values in batch.items()}

    def cleared(name: str, values: tf.Tensor) -> tf.Tensor:
        if isinstance(values, tf.RaggedTensor):
            kept = tf.ragged.boolean_mask(values, ~blank).values
            lengths = values.row_lengths() * tf.cast(~blank, values.row_splits.dtype)
            return tf.RaggedTensor.from_row_lengths(kept, lengths)
        mask = tf.reshape(blank, [-1] + [1] * (values.shape.rank - 1))
        return tf.where(mask, empty(name, values), values)

    def empty(name: str, values: tf.Tensor) -> tf.Tensor:
        if name == "image":
            return black(config.images)
        return tf.cast(pad, values.dtype) if name == "tokens" else nothing(values.dtype)

    return dict(tf.cond(tf.reduce_any(blank), clear, lambda: batch))


def _trim_padding(tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Removes the columns that are padding in all rows, down to a multiple of 8."""
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    return tokens[..., : bucket_width(longest)]


# Batches that a consumer may hold, besides those prefetched and being made.
_IN_USE = 3


def num_held(config: ReadConfig) -> int:
    """Returns the number of batches that exist at a time, at most."""
    return config.resources.prefetch + concurrency_of(config).batches + _IN_USE


def pixel_workers(
    record_schema: RecordSchema, config: ReadConfig
) -> PixelWorkers[PixelEngine] | None:
    """Returns workers that make the configured images; None without images."""
    if "image" not in config.names:
        return None
    engine, most = (
        PixelEngine(config.images, record_schema.image_format),
        num_held(config),
    )
    return PixelWorkers(engine, concurrency_of(config).workers, held=most)


def decode(
    records: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    workers: PixelWorkers[PixelEngine] | None,
    missing: MissingCaptions | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of batches.

    Args:
        records: Dataset of `Records`, one chunk per element.
        record_schema: Schema of the records.
        config: Read configuration.
        workers: Workers that make the images; the caller keeps them alive. None without
            images.
        missing: Counts captions that examples lack; the caller keeps it alive. None if
            captions are not drawn by name.
    """
    make_pixels = None
    if workers is not None:
        make_pixels = pixel_maker(weakref.ref(workers), config.images)
    most = concurrency_of(config)
    examples = make_examples(records, record_schema, config, most.chunks)
    get_missing = None if missing is None else weakly(missing)
    return make_batches(
        examples, record_schema, config, most.batches, make_pixels, get_missing
    )


def deliver(
    batches: tf.data.Dataset, config: ReadConfig, length: int | None
) -> tf.data.Dataset:
    """Returns batches with the configured prefetching and threads.

    Args:
        batches: Dataset of batches.
        config: Read configuration.
        length: Number of batches, which TensorFlow reports as the cardinality; None
            for an unknown cardinality.
    """
    if length is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(length))
    batches = batches.prefetch(config.resources.prefetch)
    return batches.with_options(_options(config))


def _options(config: ReadConfig) -> tf.data.Options:
    options = tf.data.Options()
    # Each host already reads only its own share.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    options.autotune.enabled = False  # concurrency_of explains why.
    if config.resources.num_threads is not None:
        options.threading.private_threadpool_size = config.resources.num_threads
    return options
