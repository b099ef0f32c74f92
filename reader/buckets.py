"""Windows sorted by length, so that a batch holds captions of about one length."""

import tensorflow as tf

from reader.captions import choose_captions, lengths_of, take_lengths
from reader.config.read_config import ReadConfig
from reader.content import Content
from reader.records import Arrange, Unsorted


def by_length(content: Content, config: ReadConfig) -> Arrange:
    """Returns a function that sorts each stream of a window by length of caption.

    Of several captions that are taken, the longest counts. Streams are the same on any
    number of hosts, so the examples of a step are too. All rise in one window and fall
    in the next.
    """
    roles = ("token_lengths", "token_ids")
    role = next(role for role in roles if role in content.features)
    key = content.features[role].key
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
