"""Examples → a Dataset of batches: stacked and cast."""

import tensorflow as tf

from reader.captions import pad_id
from reader.config import ReadConfig
from reader.content import Content

# Batches of captions sorted by length are as wide as their longest, in such steps: each
# other width is a shape of its own, for which a compiled model is compiled again.
_WIDTH_STEP = 8


def make_batches(
    examples: tf.data.Dataset, content: Content, config: ReadConfig
) -> tf.data.Dataset:
    """Returns a Dataset of batches, as dictionaries or as tuples in `outputs`' order.

    Pixels are cast here and not before: batching bytes copies a quarter as much.
    """
    batches = examples.batch(
        config.host_batch_size,
        drop_remainder=True,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    pad = pad_id(content.tokenizer)

    def finish(batch: dict[str, tf.Tensor]) -> object:
        if "blank" in batch:
            batch = _blanked(batch, pad)
        if "image" in batch:
            batch["image"] = tf.image.convert_image_dtype(batch["image"], tf.float32)
        if config.bucket_by_length and "tokens" in batch:
            batch["tokens"] = _narrowed(batch["tokens"], batch["length"])
        if "mask" in config.names:
            positions = tf.range(tf.shape(batch["tokens"])[1])[tf.newaxis, :]
            batch["mask"] = positions < batch["length"][:, tf.newaxis]
            batch["mask"].set_shape(batch["tokens"].shape)
        if config.outputs is None:
            return {name: batch[name] for name in config.names}
        return tuple(batch[name] for name in config.outputs)

    return batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _blanked(batch: dict[str, tf.Tensor], pad: int) -> dict[str, tf.Tensor]:
    """Returns a batch in which places of no example hold nothing: zeros, pad, no text.

    Only an epoch's last batch has such places.
    """
    blank = batch.pop("blank")

    def clear() -> dict[str, tf.Tensor]:
        return {
            name: tf.where(
                tf.reshape(blank, [-1] + [1] * (values.shape.rank - 1)),
                tf.cast(pad, values.dtype) if name == "tokens" else _zero(values.dtype),
                values,
            )
            for name, values in batch.items()
        }

    return dict(tf.cond(tf.reduce_any(blank), clear, lambda: batch))


def _zero(dtype: tf.DType) -> tf.Tensor:
    return tf.constant("") if dtype == tf.string else tf.zeros((), dtype)


def _narrowed(tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns rows without the columns that are padding in all of them."""
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    return tokens[:, : -(-longest // _WIDTH_STEP) * _WIDTH_STEP]
