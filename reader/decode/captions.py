"""Stored token ids → rows of one length, with start, end and mask."""

from typing import NamedTuple

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.contract.manifest import TokenizerSpec
from reader.datasets.record_schema import RecordSchema
from reader.decode.outputs import special_tokens
from reader.records.window_reads import Arrange, Unsorted


class Choice(NamedTuple):
    """Which captions of some examples are meant.

    Attributes:
        which: int32[n, captions]: their places in each example.
        valid: bool[n, captions]: False where an example has no such caption.
    """

    which: tf.Tensor
    valid: tf.Tensor


def choose_captions(
    counts: tf.Tensor, draws: tf.Tensor | None, config: ReadConfig
) -> Choice:
    """Returns one caption of each example, or all of them.

    Args:
        counts: int32[n]: captions that each example has.
        draws: float64[n, 1] in [0, 1), for a random one.
        config: Which ones to take.
    """
    zeros = tf.zeros_like(counts)[:, tf.newaxis]
    if config.caption == "all":
        which = zeros + tf.range(config.max_captions)
    elif config.caption == "random":
        several = tf.cast(counts[:, tf.newaxis], tf.float64)
        which = tf.cast(tf.floor(draws * several), tf.int32)
    else:
        which = zeros
    return Choice(which, which < counts[:, tf.newaxis])


def take_texts(texts: tf.RaggedTensor, choice: Choice) -> tf.Tensor:
    """Returns string[n, captions]: the captions chosen, empty where there is none."""
    return _pick(texts.to_tensor(), choice)


def take_tokens(
    ids: tf.RaggedTensor,
    lengths: tf.RaggedTensor,
    choice: Choice,
    spec: TokenizerSpec | None,
    config: ReadConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `int32[n, captions, max_tokens]`, and how many are not padding.

    What is too long is cut; start and end are kept. With start 2, end 3, pad 0 and
    max_tokens 5:

        [7]            -> [2, 7, 3, 0, 0], 3
        [7, 8, 9, 10]  -> [2, 7, 8, 9, 3], 5

    A tokenizer without start or end gives rows without. No caption is all padding.

    Args:
        ids: int64[n, (tokens)]: of all captions of an example, one after the other.
        lengths: int64[n, (captions)]: of each caption.
        choice: Which captions to take.
        spec: The tokenizer; None if it is not known.
        config: How many tokens to take.
    """
    start, end = special_tokens(spec, config)
    num_special = len(start) + len(end)
    dense = tf.cast(lengths.to_tensor(), tf.int32)
    within = _pick(tf.cumsum(dense, axis=1, exclusive=True), choice)
    first = tf.cast(ids.row_starts(), tf.int32)[:, tf.newaxis] + within
    held = _pick(dense, choice)
    if spec is None:  # Others may have written lengths of more ids than there are.
        left = tf.cast(ids.row_lengths(), tf.int32)[:, tf.newaxis] - within
        held = tf.clip_by_value(held, 0, tf.maximum(left, 0))
    kept = tf.minimum(held, config.max_tokens - num_special)
    place = tf.range(config.max_tokens) - len(start)
    inside = (place >= 0) & (place < kept[:, :, tf.newaxis])
    # One more, so that there is something to look up in.
    values = tf.concat([tf.cast(ids.values, tf.int32), [0]], axis=0)
    found = tf.gather(values, tf.where(inside, first[:, :, tf.newaxis] + place, 0))
    rows = tf.where(inside, found, pad_id(spec))
    valid = choice.valid[:, :, tf.newaxis]
    for token in start:
        rows = tf.where((place < 0) & valid, token, rows)
    for token in end:
        rows = tf.where((place == kept[:, :, tf.newaxis]) & valid, token, rows)
    return rows, tf.where(choice.valid, kept + num_special, 0)


def take_lengths(lengths: tf.RaggedTensor, choice: Choice) -> tf.Tensor:
    """Returns int32[n, captions]: tokens of the captions chosen, without start, end."""
    return _pick(tf.cast(lengths.to_tensor(), tf.int32), choice)


def _pick(values: tf.Tensor, choice: Choice) -> tf.Tensor:
    """Returns [n, captions]: of each row, the chosen; nothing where there is none."""
    # One more column, so that there is something to look up in.
    padded = tf.pad(values, [[0, 0], [0, 1]], constant_values=nothing(values.dtype))
    last = tf.shape(padded)[1] - 1
    places = tf.where(choice.valid, choice.which, last)
    return tf.gather(padded, places, batch_dims=1)


def pad_id(spec: TokenizerSpec | None) -> int:
    """Returns what fills up rows; 0 where the tokenizer is not known."""
    return 0 if spec is None else spec.pad_id


def nothing(dtype: tf.DType) -> tf.Tensor:
    """Returns what stands for no value: zero, or an empty text."""
    return tf.constant("") if dtype == tf.string else tf.zeros((), dtype)


def lengths_of(
    values: dict[str, tf.RaggedTensor],
) -> tf.RaggedTensor:
    """Returns int64[n, (captions)]: tokens of each caption; others have but one."""
    if "token_lengths" in values:
        return values["token_lengths"]
    return tf.RaggedTensor.from_tensor(values["token_ids"].row_lengths()[:, tf.newaxis])


def by_length(record_schema: RecordSchema, config: ReadConfig) -> Arrange:
    """Returns a function that sorts each stream of a window by length of caption.

    Of several captions that are taken, the longest counts. Streams are the same on any
    number of hosts, so the examples of a step are too. All rise in one window and fall
    in the next.
    """
    roles = ("token_lengths", "token_ids")
    role = next(role for role in roles if role in record_schema.features)
    key = record_schema.features[role].key
    ragged = {key: tf.io.RaggedFeature(tf.int64)}
    drawn = config.draws.columns.get("caption", slice(0, 0))

    def arrange(window: Unsorted) -> tf.Tensor:
        parsed = tf.io.parse_example(window.records, ragged)
        lengths = lengths_of({role: parsed[key]})
        counts = tf.cast(lengths.row_lengths(), tf.int32)
        choice = choose_captions(counts, window.draws[:, drawn], config)
        longest = tf.reduce_max(take_lengths(lengths, choice), axis=1)
        order = tf.where(window.descending, -longest, longest)
        # Places of no record stay behind all others.
        order = tf.where(window.blank, tf.int32.max - 1, order)
        return sort_columns(order, tf.cast(window.columns, tf.int32))

    return arrange


def sort_columns(keys: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns int32[n]: the order in which each column ascends.

    Args:
        keys: int32[n]: rows of so many columns, one after the other; the last may be
            short.
        columns: int32[]: of a row.
    """
    num = tf.size(keys)
    rows = -(-num // columns)
    fill = tf.fill([rows * columns - num], tf.int32.max)
    table = tf.reshape(tf.concat([keys, fill], axis=0), [rows, columns])
    rank = tf.argsort(table, axis=0, stable=True)
    order = tf.reshape(rank * columns + tf.range(columns), [-1])
    return order[:num]
