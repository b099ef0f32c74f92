"""Batches examples, and casts and normalizes their images."""

import numpy as np
import tensorflow as tf

from reader.config.image_config import ImageConfig
from reader.config.read_config import ReadConfig
from reader.datasets.record_schema import RecordSchema
from reader.decode.batch_pixels import MakePixels, black
from reader.decode.captions import nothing, pad_id
from reader.decode.examples import PIXEL_DRAWS, SIZES, make_examples
from reader.loader.budget import calls_at_a_time

# With `bucket_by_length`, the width of token rows is rounded up to a multiple of this
# many tokens. Fewer distinct shapes mean fewer recompilations of a compiled model.
_WIDTH_STEP = 8


def make_batches(
    examples: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    num_calls: int,
    make_pixels: MakePixels | None,
) -> tf.data.Dataset:
    """Returns a Dataset of batches: dictionaries, or tuples in the order of `outputs`.

    Pixels are cast after batching: batching uint8 copies a quarter of the bytes of
    float32.

    Args:
        examples: Dataset of chunks of examples, of any size.
        record_schema: Schema of the records.
        config: Read configuration.
        num_calls: Number of batches to process concurrently.
        make_pixels: Function that makes the images of a batch. None if the examples
            hold images already, or none.
    """
    batches = examples.rebatch(config.host_batch_size, drop_remainder=True)
    pad = pad_id(record_schema.tokenizer)

    def finish(batch: dict[str, tf.Tensor]) -> object:
        if PIXEL_DRAWS in batch and make_pixels is not None:
            sizes, draws = batch.pop(SIZES, None), batch.pop(PIXEL_DRAWS)
            batch["image"] = make_pixels(batch["image"], sizes, draws)
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


def finish_images(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Converts `uint8[n, height, width, 3]` to the configured dtype and data format.

    Args:
        images: Batch of images, `uint8[n, height, width, 3]`.
        config: Image configuration, with dtype, normalization and data format.
    """
    if config.data_format == "channels_first":
        # Transposed before casting, while a value takes one byte instead of four.
        images = _channels_first(images, config)
    if config.dtype == "uint8":
        return images
    if config.normalize is None:
        values = _fractions(images)
    else:
        values = _normalized(images, config)
    return tf.cast(values, config.dtype)


def _channels_first(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    # TensorFlow transposes two axes twice as fast as three.
    height, width = config.target
    pixels = tf.reshape(images, [-1, height * width, 3])
    return tf.reshape(tf.transpose(pixels, [0, 2, 1]), [-1, 3, height, width])


def _fractions(images: tf.Tensor) -> tf.Tensor:
    """Converts uint8 to float32 in [0, 1].

    The result equals that of tf.image.convert_image_dtype bit for bit, in one pass over
    memory instead of two: docs/performance.md#fewer-passes.
    """
    return tf.quantization.dequantize(
        tf.bitcast(images, tf.quint8), 0.0, 1.0, mode="MIN_COMBINED"
    )


def _normalized(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Computes (x / 255 - mean) / std as one multiplication and one subtraction."""
    height, width = config.target
    mean, std = np.array(config.normalize, np.float64)
    scale, offset = 1 / (255 * std), mean / std
    # Scales have the shape of whole rows: TensorFlow takes four times as long to
    # broadcast three values.
    if config.data_format == "channels_first":
        scale, offset = (np.repeat(part, height * width) for part in (scale, offset))
        shape = [-1, 3 * height * width]
    else:
        scale, offset = (np.tile(part, width) for part in (scale, offset))
        shape = [-1, height, width * 3]
    values = tf.reshape(tf.cast(images, tf.float32), shape)
    values = values * scale.astype(np.float32) - offset.astype(np.float32)
    return tf.reshape(values, tf.shape(images))


def _clear_blanks(
    batch: dict[str, tf.Tensor], pad: int, config: ReadConfig
) -> dict[str, tf.Tensor]:
    """Clears the positions of a batch without an example: black, pad and empty text.

    Only the last batch of an epoch has such positions.
    """
    blank = batch.pop("blank")

    def clear() -> dict[str, tf.Tensor]:
        return {
            name: tf.where(
                tf.reshape(blank, [-1] + [1] * (values.shape.rank - 1)),
                empty(name, values),
                values,
            )
            for name, values in batch.items()
        }

    def empty(name: str, values: tf.Tensor) -> tf.Tensor:
        if name == "image":
            return black(config.images)
        return tf.cast(pad, values.dtype) if name == "tokens" else nothing(values.dtype)

    return dict(tf.cond(tf.reduce_any(blank), clear, lambda: batch))


def _trim_padding(tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Removes the columns that are padding in all rows, down to a multiple of 8."""
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    return tokens[..., : -(-longest // _WIDTH_STEP) * _WIDTH_STEP]


def deliver(
    records: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    length: int | None,
    make_pixels: MakePixels | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of batches with the configured prefetching and threads.

    Args:
        records: Dataset of `Records`, one chunk per element.
        record_schema: Schema of the records.
        config: Read configuration.
        length: Number of batches, which TensorFlow reports as the cardinality; None
            for an unknown cardinality.
        make_pixels: Function that makes the images of a batch, or None.
    """
    calls = calls_at_a_time(config)
    has_images = records.element_spec.images != ()
    num_chunks = calls.batches if has_images else calls.chunks
    examples = make_examples(records, record_schema, config, num_chunks)
    batches = make_batches(examples, record_schema, config, calls.batches, make_pixels)
    if length is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(length))
    batches = batches.prefetch(config.resources.prefetch)
    return batches.with_options(_options(config))


def _options(config: ReadConfig) -> tf.data.Options:
    options = tf.data.Options()
    # Each host already reads only its own share.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    options.autotune.enabled = False  # calls_at_a_time explains why.
    if config.resources.num_threads is not None:
        options.threading.private_threadpool_size = config.resources.num_threads
    return options
