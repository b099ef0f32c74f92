"""Selects captions and pads their token ids to rows of equal length."""

from typing import Any, NamedTuple

import tensorflow as tf

from reader.config.read_config import CaptionWeights, ReadConfig
from reader.contract.manifest import TokenizerSpec
from reader.contract.schema import BASE_CAPTIONS
from reader.datasets.record_schema import RecordSchema
from reader.decode.named_captions import (
    CAPTION_ROLES,
    CODES,
    NAMES,
    codes_of,
    drawn_groups,
    names_of,
)
from reader.decode.outputs import length_roles, pad_id, special_tokens
from reader.records.window_reads import Arrange, Unsorted


class Choice(NamedTuple):
    """The selected captions of n examples.

    Attributes:
        which: int32[n, captions]: Index of each selected caption in its example.
        valid: bool[n, captions]: False where the example has no such caption.
        missing: bool[n, names]: True where the example lacks a name, if captions are
            drawn by name; None otherwise.
    """

    which: tf.Tensor
    valid: tf.Tensor
    missing: tf.Tensor | None = None


def choose_captions(
    values: dict[str, tf.RaggedTensor], draws: tf.Tensor, config: ReadConfig
) -> Choice:
    """Selects the first caption of each example, a random one, all, or one by name.

    Args:
        values: Parsed features by role.
        draws: float64[n, draws]: All random numbers of each example.
        config: Read configuration, with `caption` and `max_captions`.
    """
    counts = num_captions(values)
    zeros, columns = tf.zeros_like(counts)[:, tf.newaxis], config.draws.columns
    if config.caption_weights is not None:
        weights = names_of(config.caption_weights).weights
        by_name, by_caption = columns["caption_name"], columns["caption"]
        choice = draw_captions(
            values[CODES].to_tensor(), weights, draws[:, by_name], draws[:, by_caption]
        )
        is_there = choice.which < counts[:, tf.newaxis]
        return choice._replace(valid=choice.valid & is_there)
    if config.caption == "all":
        which = zeros + tf.range(config.max_captions)
    elif config.caption == "random":
        exact_counts = tf.cast(counts[:, tf.newaxis], tf.float64)
        drawn = draws[:, columns["caption"]]
        which = tf.cast(tf.floor(drawn * exact_counts), tf.int32)
    else:
        which = zeros
    return Choice(which, which < counts[:, tf.newaxis])


def draw_captions(
    codes: tf.Tensor, weights: Any, name_draws: tf.Tensor, draws: tf.Tensor
) -> Choice:
    """Draws a caption of each example, as `named_captions.draw_captions` does.

    Args:
        codes: int32[n, captions]: Names of the captions of each example, from 1.
        weights: int64[names]: Weight of each name.
        name_draws: float64[n, 1]: Random numbers in [0, 1) for the names.
        draws: float64[n, 1]: Random numbers in [0, 1) for the captions of a name.
    """
    codes = tf.pad(codes, [[0, 0], [0, 1]])  # `argmax` needs a column.
    num_names = len(weights)
    of_names = codes[:, :, tf.newaxis] == tf.range(1, num_names + 1)
    counts = tf.reduce_sum(tf.cast(of_names, tf.int32), axis=1)
    there = tf.where(counts > 0, tf.constant(weights, tf.int64), tf.zeros((), tf.int64))
    ends = tf.cumsum(there, axis=1)
    total = ends[:, -1:]
    at = tf.cast(tf.floor(name_draws * tf.cast(total, tf.float64)), tf.int64)
    before = tf.reduce_sum(tf.cast(ends <= at, tf.int32), axis=1, keepdims=True)
    drawn = tf.minimum(before, num_names - 1)
    num = tf.cast(tf.gather(counts, drawn, batch_dims=1), tf.float64)
    place = tf.cast(tf.floor(draws * num), tf.int32)
    of_name = codes == drawn + 1
    found = of_name & (tf.cumsum(tf.cast(of_name, tf.int32), axis=1) == place + 1)
    which = tf.argmax(tf.cast(found, tf.int32), axis=1, output_type=tf.int32)
    return Choice(which[:, tf.newaxis], total > 0, counts == 0)


def join_groups(
    values: dict[str, tf.RaggedTensor],
    record_schema: RecordSchema,
    weights: CaptionWeights,
) -> dict[str, tf.RaggedTensor]:
    """Returns the captions of all groups as one, with the codes of their names.

    Args:
        values: Parsed features by role.
        record_schema: Schema of the records.
        weights: Weights of the names that captions are drawn by.
    """
    names = names_of(weights).names
    groups = drawn_groups(record_schema, weights)
    roles = [role for role in CAPTION_ROLES if groups[0].roles.get(role) in values]
    parts: dict[str, list[tf.RaggedTensor]] = {role: [] for role in (*roles, CODES)}
    for group in groups:
        own = {role: values[group.roles[role]] for role in roles}
        for role, value in own.items():
            parts[role].append(value)
        if group.names is None:
            (code,) = codes_of([group.name.encode()], names).tolist()
            counts = num_captions(own)
            filled = tf.fill([tf.reduce_sum(counts)], code)
            codes = tf.RaggedTensor.from_row_lengths(filled, counts)
        else:
            codes = tf.ragged.map_flat_values(_codes, values[group.names], names)
        parts[CODES].append(codes)
    return {
        role: part[0] if len(part) == 1 else tf.concat(part, axis=1)
        for role, part in parts.items()
    }


def _codes(found: tf.Tensor, names: tuple[bytes, ...]) -> tf.Tensor:
    """Returns int32[n], as `codes_of` does."""
    matches = tf.cast(_named(found)[:, tf.newaxis] == tf.constant(names), tf.int32)
    return tf.reduce_sum(matches * tf.range(1, len(names) + 1), axis=1)


def _named(names: tf.Tensor) -> tf.Tensor:
    """Returns names, with `base` for captions without a name."""
    return tf.where(names == "", BASE_CAPTIONS, names)


def take_names(
    values: dict[str, tf.RaggedTensor], choice: Choice, config: ReadConfig
) -> tf.Tensor:
    """Returns string[n, captions]: names of the selected captions.

    They are empty where a caption is invalid.
    """
    weights = config.caption_weights
    if weights is None:
        shown = tf.ragged.map_flat_values(_named, values[NAMES])
        return _pick(shown.to_tensor(), choice)
    names = tf.constant([b"", *names_of(weights).names])
    return tf.gather(names, _pick(values[CODES].to_tensor(), choice))


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


def num_captions(values: dict[str, tf.RaggedTensor]) -> tf.Tensor:
    """Returns int32[n]: the number of captions of each example.

    Args:
        values: Parsed features by role.
    """
    if "captions" in values and "token_ids" not in values:
        return tf.cast(values["captions"].row_lengths(), tf.int32)
    return tf.cast(lengths_of(values).row_lengths(), tf.int32)


def by_length(record_schema: RecordSchema, config: ReadConfig) -> Arrange:
    """Returns a function that sorts each stream of a window by caption length.

    An example with several selected captions is sorted by the longest one. The streams
    do not depend on the number of hosts, so every step has the same examples on any
    number of hosts. All streams ascend in one window and descend in the next.
    """
    roles, weights = length_roles(record_schema, config), config.caption_weights
    features = {role: record_schema.features[role] for role in roles}
    dtypes = {"bytes": tf.string, "int64": tf.int64}
    ragged = {
        each.key: tf.io.RaggedFeature(dtypes[each.dtype]) for each in features.values()
    }

    def arrange(window: Unsorted) -> tf.Tensor:
        parsed = tf.io.parse_example(window.records, ragged)
        values = {role: parsed[each.key] for role, each in features.items()}
        if weights is not None:
            values = join_groups(values, record_schema, weights)
        lengths = lengths_of(values)
        choice = choose_captions(values, window.draws, config)
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
