"""Stored token ids → rows of one length, with start, end and mask."""

import tensorflow as tf

from reader.config import ReadConfig
from reader.contract.manifest import TokenizerSpec


def first_caption(ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns `int64[length]`: the ids of the first caption of a record."""
    return ids[: lengths[0]]


def frame_tokens(
    ids: tf.Tensor, spec: TokenizerSpec, config: ReadConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `int32[max_tokens]` and how many of these are not padding.

    What is too long is cut; start and end are kept. With start 2, end 3, pad 0 and
    max_tokens 5:

        [7]            -> [2, 7, 3, 0, 0], 3
        [7, 8, 9, 10]  -> [2, 7, 8, 9, 3], 5
    """
    ids = tf.cast(ids, tf.int32)
    if config.add_special_tokens:
        kept = ids[: config.max_tokens - 2]
        ids = tf.concat([[spec.start_id], kept, [spec.end_id]], axis=0)
    else:
        ids = ids[: config.max_tokens]
    length = tf.size(ids)
    row = tf.pad(ids, [[0, config.max_tokens - length]], constant_values=spec.pad_id)
    row.set_shape((config.max_tokens,))
    return row, length
