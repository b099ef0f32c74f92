"""Shards → a Dataset of serialised records, shuffled while they are still small."""

import tensorflow as tf

from reader.catalog import Selection
from reader.config import ReadConfig

# Shards that are open at a time, and records taken from each in turn. Records are
# shuffled as they are written, so this is for reading in parallel, not for order.
_SHARDS_AT_A_TIME = 16
_RECORDS_IN_TURN = 16


def read_records(selection: Selection, config: ReadConfig) -> tf.data.Dataset:
    """Returns a Dataset of `string[]`: each record of the selection once an epoch."""
    shards = tf.data.Dataset.from_tensor_slices(selection.paths)
    if config.shuffle:
        shards = shards.shuffle(len(selection.paths), seed=config.seed)
    records = shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=_SHARDS_AT_A_TIME if config.shuffle else 1,
        block_length=_RECORDS_IN_TURN if config.shuffle else 1,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    if config.shuffle:
        window = _records_in(selection, config.shuffle_bytes)
        records = records.shuffle(window, seed=config.seed + 1)
    return records


def _records_in(selection: Selection, num_bytes: int) -> int:
    """Returns how many records of mean size make so many bytes; one at least."""
    mean = max(1, selection.num_bytes // max(1, selection.num_examples))
    return min(selection.num_examples, max(1, num_bytes // mean))
