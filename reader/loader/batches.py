"""Examples → a Dataset of batches: of their size, cast, normalised."""

import numpy as np
import tensorflow as tf

from reader.config.image_config import ImageConfig
from reader.config.read_config import ReadConfig
from reader.datasets.record_schema import RecordSchema
from reader.decode.captions import nothing, pad_id
from reader.decode.examples import make_examples
from reader.loader.budget import calls_at_a_time

# Batches of captions sorted by length are as wide as their longest, in such steps: each
# other width is a shape of its own, for which a compiled model is compiled again.
_WIDTH_STEP = 8


def make_batches(
    examples: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    num_calls: int,
) -> tf.data.Dataset:
    """Returns a Dataset of batches, as dictionaries or as tuples in `outputs`' order.

    Pixels are cast here and not before: batching bytes copies a quarter as much.

    Args:
        examples: Chunks of examples, of any size.
        record_schema: What the records hold.
        config: How to read.
        num_calls: Batches to work on at a time.
    """
    batches = examples.rebatch(config.host_batch_size, drop_remainder=True)
    pad = pad_id(record_schema.tokenizer)

    def finish(batch: dict[str, tf.Tensor]) -> object:
        if "blank" in batch:
            batch = _blanked(batch, pad)
        if "image" in batch:
            batch["image"] = finish_images(batch["image"], config.images)
        if config.bucket_by_length and "tokens" in batch:
            batch["tokens"] = _narrowed(batch["tokens"], batch["length"])
        if "mask" in config.names:
            positions = tf.range(tf.shape(batch["tokens"])[-1])
            batch["mask"] = positions < batch["length"][..., tf.newaxis]
            batch["mask"].set_shape(batch["tokens"].shape)
        if config.outputs is None:
            return {name: batch[name] for name in config.names}
        return tuple(batch[name] for name in config.outputs)

    return batches.map(finish, num_parallel_calls=num_calls, deterministic=True)


def finish_images(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Returns `uint8[n, height, width, 3]` in the dtype and layout asked for."""
    first = config.data_format == "channels_first"
    if first:
        images = _channels_first(images, config)  # A byte each; later it is four.
    if config.dtype == "uint8":
        return images
    if config.normalize is None:
        values = _fractions(images)
    else:
        values = _normalized(images, config)
    return tf.cast(values, config.dtype)


def _channels_first(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    # Of two axes at a time, which TensorFlow does twice as fast as of three.
    height, width = config.target
    pixels = tf.reshape(images, [-1, height * width, 3])
    return tf.reshape(tf.transpose(pixels, [0, 2, 1]), [-1, 3, height, width])


def _fractions(images: tf.Tensor) -> tf.Tensor:
    """Returns float32 in [0, 1].

    As tf.image.convert_image_dtype, bit by bit, in one pass over memory and not in two:
    docs/performance.md#fewer-passes.
    """
    return tf.quantization.dequantize(
        tf.bitcast(images, tf.quint8), 0.0, 1.0, mode="MIN_COMBINED"
    )


def _normalized(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Returns (x / 255 - mean) / std, as one multiplication and one subtraction."""
    height, width = config.target
    mean, std = np.array(config.normalize, np.float64)
    scale, offset = 1 / (255 * std), mean / std
    # Whole rows at a time: TensorFlow is four times as slow with three values.
    if config.data_format == "channels_first":
        scale, offset = (np.repeat(part, height * width) for part in (scale, offset))
        shape = [-1, 3 * height * width]
    else:
        scale, offset = (np.tile(part, width) for part in (scale, offset))
        shape = [-1, height, width * 3]
    values = tf.reshape(tf.cast(images, tf.float32), shape)
    values = values * scale.astype(np.float32) - offset.astype(np.float32)
    return tf.reshape(values, tf.shape(images))


def _blanked(batch: dict[str, tf.Tensor], pad: int) -> dict[str, tf.Tensor]:
    """Returns a batch in which places of no example hold nothing: black, pad, no text.

    Only an epoch's last batch has such places.
    """
    blank = batch.pop("blank")

    def clear() -> dict[str, tf.Tensor]:
        return {
            name: tf.where(
                tf.reshape(blank, [-1] + [1] * (values.shape.rank - 1)),
                tf.cast(pad, values.dtype)
                if name == "tokens"
                else nothing(values.dtype),
                values,
            )
            for name, values in batch.items()
        }

    return dict(tf.cond(tf.reduce_any(blank), clear, lambda: batch))


def _narrowed(tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns rows without the columns that are padding in all of them."""
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    return tokens[..., : -(-longest // _WIDTH_STEP) * _WIDTH_STEP]


def deliver(
    records: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    length: int | None,
) -> tf.data.Dataset:
    """Returns a Dataset of batches.

    Args:
        records: `Records`, a chunk at a time.
        record_schema: What they hold.
        config: How to read.
        length: How many batches there are; None if TensorFlow should not count on any
            number.
    """
    calls = calls_at_a_time(config)
    examples = make_examples(records, record_schema, config, calls.chunks)
    batches = make_batches(examples, record_schema, config, calls.batches)
    if length is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(length))
    batches = batches.prefetch(config.resources.prefetch)
    return batches.with_options(_options(config))


def _options(config: ReadConfig) -> tf.data.Options:
    options = tf.data.Options()
    # Each host has its share already.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    options.autotune.enabled = False  # See calls_at_a_time.
    if config.resources.num_threads is not None:
        options.threading.private_threadpool_size = config.resources.num_threads
    return options
