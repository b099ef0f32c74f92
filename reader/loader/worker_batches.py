"""Batches that the pixel workers read, parse and decode, as a Dataset of TensorFlow."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_schema import RecordSchema
from reader.decode.examples import TYPES
from reader.pixels.casts import row_shape
from reader.records.memory import keep_large_blocks
from reader.records.python_calls import generate_python, weakly
from reader.schedule.windows import Windows
from reader.streaming.batches import BatchReader
from reader.streaming.budget import concurrency_of


def can_read_by_workers(
    index: RecordIndex, record_schema: RecordSchema, config: ReadConfig
) -> bool:
    """Returns whether pixel workers can read the records, and not TensorFlow.

    Captions are sorted by length before images are made, and rows of different lengths
    are no arrays.

    Args:
        index: Index of the records.
        record_schema: Schema of the records.
        config: Read configuration, fitted to it.
    """
    features = map(record_schema.features.get, config.names)
    return (
        "image" in config.names
        and concurrency_of(config).workers > 0
        and not config.bucket_by_length
        and index.has_lengths
        and not any(feature and None in feature.shape for feature in features)
    )


def worker_batches(
    windows: Windows,
    reader: BatchReader,
    record_schema: RecordSchema,
    config: ReadConfig,
) -> tf.data.Dataset:
    """Returns a Dataset of batches: dictionaries, or tuples in the order of `outputs`.

    A batch is handed over as a whole: nothing is done for each image or byte.

    Args:
        windows: Windows to read, which the caller keeps alive.
        reader: Reads batches; the caller keeps it alive.
        record_schema: Schema of the records.
        config: Read configuration.
    """
    ahead = concurrency_of(config).batches
    get_windows, get_reader = weakly(windows), weakly(reader)

    def begin() -> Iterator[Any]:
        keep_large_blocks()
        windows, reader = get_windows(), get_reader()
        staging = reader.access.begin()
        placed = windows.placed(staging)
        batches = reader.batches(placed, staging, ahead, windows.note_read)
        return generate_python(batches)

    return tf.data.Dataset.from_generator(
        begin, output_signature=_signature(record_schema, config)
    )


def _signature(record_schema: RecordSchema, config: ReadConfig) -> Any:
    names, size = config.names, config.host_batch_size
    each = (size, config.max_captions) if config.caption == "all" else (size,)
    rows = (*each, config.max_tokens)
    specs = {
        "image": ((size, *row_shape(config.images)), config.images.dtype),
        "tokens": (rows, tf.int32),
        "mask": (rows, tf.bool),
        "length": (each, tf.int32),
        "caption": (each, tf.string),
        "caption_valid": (each, tf.bool),
        "caption_name": (each, tf.string),
        "key": ((size,), tf.string),
        "encoded": ((size,), tf.string),
        "height": ((size,), tf.int32),
        "width": ((size,), tf.int32),
        "dataset": ((size,), tf.int32),
        "valid": ((size,), tf.bool),
    }
    for name in names:
        if name not in specs:
            feature = record_schema.features[name]
            specs[name] = ((size, *feature.shape), TYPES[feature.dtype])
    found = [tf.TensorSpec(*specs[name]) for name in names]
    if config.outputs is None:
        return dict(zip(names, found, strict=True))
    return tuple(found)
