"""Compressed TFRecords: read from the start, shuffled in a buffer, as is usual.

They have no places to begin at, so there is no plan, no length and no resuming.
"""

import tensorflow as tf

from reader.contract.errors import DatasetError

_FILES_AT_A_TIME = 16
_RECORDS_IN_TURN = 16


def first_compressed_records(
    paths: list[str], compression: str, num: int
) -> list[bytes]:
    """Returns the first records of some files, `num` or as many as there are.

    Raises:
        DatasetError: They hold none, or it is damaged.
    """
    try:
        records = tf.data.TFRecordDataset(paths, compression_type=compression)
        found = [bytes(record) for record in records.take(num).as_numpy_iterator()]
    except tf.errors.OpError as error:
        raise DatasetError(f"{paths[0]}: {error.message}") from error
    if not found:
        raise DatasetError(f"{paths[0]} and the other files hold no record")
    return found


def read_compressed(
    paths: list[str], compression: str, *, seed: int | None, window: int
) -> tf.data.Dataset:
    """Returns a Dataset of string[]: the records of an epoch.

    Args:
        paths: Of the files.
        compression: `GZIP` or `ZLIB`.
        seed: Of the order; None for the order written.
        window: Records to hold for shuffling.
    """
    if seed is None:
        return tf.data.TFRecordDataset(paths, compression_type=compression)
    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=seed)
    records = files.interleave(
        lambda path: tf.data.TFRecordDataset(path, compression_type=compression),
        cycle_length=_FILES_AT_A_TIME,
        block_length=_RECORDS_IN_TURN,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return records.shuffle(window, seed=seed + 1)
