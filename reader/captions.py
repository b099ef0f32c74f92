"""Stored token ids → rows of one length, with start, end and mask."""

import tensorflow as tf

from reader.config import ReadConfig
from reader.contract.errors import UsageError
from reader.contract.manifest import TokenizerSpec


def first_caption(ids: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Returns `int64[length]`: the ids of the first caption of a record.

    Without lengths there is but one.
    """
    return ids if lengths is None else ids[: lengths[0]]


def special_tokens(
    spec: TokenizerSpec | None, config: ReadConfig
) -> tuple[list[int], list[int]]:
    """Returns what is put before a caption and after it: a token each, or none.

    An unknown tokenizer has none.

    Raises:
        UsageError: They do not fit into `max_tokens`.
    """
    ids: tuple[int | None, int | None] = (None, None)
    if spec is not None and config.add_special_tokens:
        ids = (spec.start_id, spec.end_id)
    start, end = ([] if id_ is None else [id_] for id_ in ids)
    at_least = len(start) + len(end)
    if config.max_tokens < at_least:
        raise UsageError(
            f"max_tokens must be at least {at_least}, for the start and the end of a "
            f"caption, got {config.max_tokens}"
        )
    return start, end


def frame_tokens(
    ids: tf.Tensor, spec: TokenizerSpec | None, config: ReadConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `int32[max_tokens]` and how many of these are not padding.

    What is too long is cut; start and end are kept. With start 2, end 3, pad 0 and
    max_tokens 5:

        [7]            -> [2, 7, 3, 0, 0], 3
        [7, 8, 9, 10]  -> [2, 7, 8, 9, 3], 5

    A tokenizer without start or end gives rows without.
    """
    start, end = special_tokens(spec, config)
    kept = tf.cast(ids, tf.int32)[: config.max_tokens - len(start) - len(end)]
    parts = [tf.constant(part, tf.int32) for part in (start, end)]
    ids = tf.concat([parts[0], kept, parts[1]], axis=0)
    length = tf.size(ids)
    fill = [[0, config.max_tokens - length]]
    row = tf.pad(ids, fill, constant_values=pad_id(spec))
    row.set_shape((config.max_tokens,))
    return row, length


def pad_id(spec: TokenizerSpec | None) -> int:
    """Returns what fills up rows; 0 where the tokenizer is not known."""
    return 0 if spec is None else spec.pad_id
