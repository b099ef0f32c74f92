"""Selects captions and pads their token ids to rows of equal length."""

from typing import NamedTuple

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.contract.manifest import TokenizerSpec
from reader.datasets.record_schema import RecordSchema
from reader.decode.outputs import pad_id, special_tokens
from reader.records.window_reads import Arrange, Unsorted


class Choice(NamedTuple):
    """The selected captions of n examples.

    Attributes:
        which: int32[n, captions]: Index of each selected caption in its example.
        valid: bool[n, captions]: False where the example has no such caption.
    """

    which: tf.Tensor
    valid: tf.Tensor


def choose_captions(
    counts: tf.Tensor, draws: tf.Tensor | None, config: ReadConfig
) -> Choice:
    """Selects the first caption, a random caption or all captions of each example.

    Args:
        counts: int32[n]: Number of captions of each example.
        draws: float64[n, 1]: Random numbers in [0, 1) for `caption="random"`; unused
            otherwise.
        config: Read configuration, with `caption` and `max_captions`.
    """
    zeros = tf.zeros_like(counts)[:, tf.newaxis]
    if config.caption == "all":
        which = zeros + tf.range(config.max_captions)
    elif config.caption == "random":
        exact_counts = tf.cast(counts[:, tf.newaxis], tf.float64)
        which = tf.cast(tf.floor(draws * exact_counts), tf.int32)
    else:
        which = zeros
    return Choice(which, which < counts[:, tf.newaxis])


def take_texts(texts: tf.RaggedTensor, choice: Choice) -> tf.Tensor:
    """Returns string[n, captions]: the selected captions, empty where invalid."""
    return _pick(texts.to_tensor(), choice)


def take_tokens(
    ids: tf.RaggedTensor,
    lengths: tf.RaggedTensor,
    choice: Choice,
    spec: TokenizerSpec | None,
    config: ReadConfig,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns padded rows of token ids and the length of each row.

    Longer captions are truncated, but keep their start and end tokens. With start 2,
    end 3, pad 0 and `max_tokens=5`:

        [7]            -> [2, 7, 3, 0, 0], 3
        [7, 8, 9, 10]  -> [2, 7, 8, 9, 3], 5

    A start or end token that the tokenizer does not define is omitted. The row of an
    invalid caption is all padding, with length 0.

    Args:
        ids: int64[n, (tokens)]: Token ids of all captions of each example,
            concatenated.
        lengths: int64[n, (captions)]: Number of token ids of each caption.
        choice: Captions to take.
        spec: Tokenizer of the ids; None if unknown.
        config: Read configuration, with `max_tokens` and `add_special_tokens`.

    Returns:
        `int32[n, captions, max_tokens]`: token ids, and `int32[n, captions]`: the
        number of tokens that are not padding.
    """
    start, end = special_tokens(spec, config)
    num_special = len(start) + len(end)
    dense = tf.cast(lengths.to_tensor(), tf.int32)
    within = _pick(tf.cumsum(dense, axis=1, exclusive=True), choice)
    first = tf.cast(ids.row_starts(), tf.int32)[:, tf.newaxis] + within
    stored = _pick(dense, choice)
    if spec is None:  # In foreign TFRecords, lengths may exceed the number of ids.
        left = tf.cast(ids.row_lengths(), tf.int32)[:, tf.newaxis] - within
        stored = tf.clip_by_value(stored, 0, tf.maximum(left, 0))
    kept = tf.minimum(stored, config.max_tokens - num_special)
    place = tf.range(config.max_tokens) - len(start)
    inside = (place >= 0) & (place < kept[:, :, tf.newaxis])
    # One extra element, so that `gather` never reads from an empty tensor.
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
    """Returns int32[n, captions]: lengths in tokens, without start and end tokens."""
    return _pick(tf.cast(lengths.to_tensor(), tf.int32), choice)


def _pick(values: tf.Tensor, choice: Choice) -> tf.Tensor:
    """Returns [n, captions]: the selected values, or the empty value where invalid."""
    # One extra column, which holds the empty value for invalid captions.
    padded = tf.pad(values, [[0, 0], [0, 1]], constant_values=nothing(values.dtype))
    last = tf.shape(padded)[1] - 1
    places = tf.where(choice.valid, choice.which, last)
    return tf.gather(padded, places, batch_dims=1)


def nothing(dtype: tf.DType) -> tf.Tensor:
    """Returns the empty value of a dtype: zero, or an empty string."""
    return tf.constant("") if dtype == tf.string else tf.zeros((), dtype)


def lengths_of(
    values: dict[str, tf.RaggedTensor],
) -> tf.RaggedTensor:
    """Returns int64[n, (captions)]: the number of stored token ids of each caption.

    Records without `token_lengths` have one caption each.

    Args:
        values: Parsed features by role, with `token_ids` or `token_lengths`.
    """
    if "token_lengths" in values:
        return values["token_lengths"]
    return tf.RaggedTensor.from_tensor(values["token_ids"].row_lengths()[:, tf.newaxis])


def by_length(record_schema: RecordSchema, config: ReadConfig) -> Arrange:
    """Returns a function that sorts each stream of a window by caption length.

    An example with several selected captions is sorted by the longest one. The streams
    do not depend on the number of hosts, so every step has the same examples on any
    number of hosts. All streams ascend in one window and descend in the next.
    """
    roles = ("token_lengths", "token_ids")
    role = next(role for role in roles if role in record_schema.features)
    key = record_schema.features[role].key
    ragged = {key: tf.io.RaggedFeature(tf.int64)}
    draw_columns = config.draws.columns.get("caption", slice(0, 0))

    def arrange(window: Unsorted) -> tf.Tensor:
        parsed = tf.io.parse_example(window.records, ragged)
        lengths = lengths_of({role: parsed[key]})
        counts = tf.cast(lengths.row_lengths(), tf.int32)
        choice = choose_captions(counts, window.draws[:, draw_columns], config)
        longest = tf.reduce_max(take_lengths(lengths, choice), axis=1)
        order = tf.where(window.descending, -longest, longest)
        # Positions without a record stay behind all records.
        order = tf.where(window.blank, tf.int32.max - 1, order)
        return sort_columns(order, tf.cast(window.columns, tf.int32))

    return arrange


def sort_columns(keys: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns int32[n]: the order that sorts each column in ascending order.

    Args:
        keys: int32[n]: Sort keys as a flattened table; the last row may be short.
        columns: int32[]: Number of columns of the table.
    """
    num = tf.size(keys)
    rows = -(-num // columns)
    fill = tf.fill([rows * columns - num], tf.int32.max)
    table = tf.reshape(tf.concat([keys, fill], axis=0), [rows, columns])
    rank = tf.argsort(table, axis=0, stable=True)
    order = tf.reshape(rank * columns + tf.range(columns), [-1])
    return order[:num]
