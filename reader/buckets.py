"""Windows sorted by length, so that a batch holds captions of about one length."""

import tensorflow as tf

from reader.content import Content
from reader.records import Arrange


def by_length(content: Content) -> Arrange:
    """Returns a function that sorts each stream of a window by length of caption.

    Streams are the same on any number of hosts, so the examples of a step are too. All
    rise in one window and fall in the next.
    """
    roles = ("token_lengths", "token_ids")
    role = next(role for role in roles if role in content.features)
    key = content.features[role].key
    ragged = {key: tf.io.RaggedFeature(tf.int64)}

    def lengths_of(records: tf.Tensor) -> tf.Tensor:
        values = tf.io.parse_example(records, ragged)[key]
        if role == "token_ids":
            return tf.cast(values.row_lengths(), tf.int32)
        return tf.cast(values[:, :1].to_tensor(shape=(None, 1))[:, 0], tf.int32)

    def arrange(
        records: tf.Tensor, blank: tf.Tensor, columns: tf.Tensor, descending: tf.Tensor
    ) -> tf.Tensor:
        lengths = lengths_of(records)
        keys = tf.where(descending, -lengths, lengths)
        # Places of no record stay behind all others.
        keys = tf.where(blank, tf.int32.max - 1, keys)
        return sort_columns(keys, tf.cast(columns, tf.int32))

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
