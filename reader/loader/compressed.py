"""Reads compressed TFRecords sequentially, with a shuffle buffer and without resuming.

The records of a compressed file have no byte offsets to seek to, so no epoch can be
planned before reading.
"""

import warnings
from collections.abc import Sequence

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.record_schema import RecordSchema
from reader.datasets.record_source import RecordSource
from reader.loader.batches import decode, deliver, pixel_workers
from reader.records.window_reads import Records
from reader.streaming.budget import chunk_size

# Assumed size of a record. The actual sizes are unknown until all records are read.
_RECORD_BYTES = 64 << 10
# Arguments of `load` that need a planned order.
_PLANNED = (
    "start_step",
    "start_example",
    "host_count",
    "remainder",
    "on_corrupt",
    "bucket_by_length",
)


def load_unplanned(
    record_sources: Sequence[RecordSource],
    record_schema: RecordSchema,
    config: ReadConfig,
    resume: object,
) -> tf.data.Dataset:
    """Returns a Dataset of batches from compressed files, and warns of its limits.

    Args:
        record_sources: The compressed files, as a single source.
        record_schema: Schema of the records.
        config: Read configuration.
        resume: State to resume from; must be None.

    Raises:
        UsageError: An argument needs a planned order, such as `resume`, `host_count` or
            a random crop.
    """
    (source, *others) = record_sources
    usual = ReadConfig(batch_size=1)
    for name in _PLANNED:
        if getattr(config, name) != getattr(usual, name):
            raise UsageError(_no_plan(source, f"{name}={getattr(config, name)!r}"))
    for use in config.draws.columns:
        raise UsageError(_no_plan(source, f"a random {use}"))
    if "dataset" in config.names and any(shard.dataset for shard in source.shards):
        raise UsageError(_no_plan(source, "the output dataset"))
    if config.resources.cache is not None:
        raise UsageError(_no_plan(source, "cache"))
    if resume is not None or others:
        raise UsageError(_no_plan(source, "weights" if others else "resume"))
    warnings.warn(_no_plan(source, "len, resuming and several hosts"), stacklevel=3)
    build = tf.autograph.experimental.do_not_convert(_batches)  # As in Batches.
    batches: tf.data.Dataset = build(source, record_schema, config)
    return batches


def _batches(
    source: RecordSource, record_schema: RecordSchema, config: ReadConfig
) -> tf.data.Dataset:
    records = read_compressed(
        [shard.path for shard in source.shards],
        source.compression,
        seed=config.seed if config.shuffle else None,
        window=max(1, config.shuffle_bytes // _RECORD_BYTES),
    )
    chunks = records.repeat(config.epochs).batch(chunk_size(config.batch_size))
    workers = pixel_workers(record_schema, config)
    records = chunks.map(_as_records)
    batches = deliver(decode(records, record_schema, config, workers), config, None)
    batches.pixel_workers = workers  # They end with the last reference.
    return batches


def _as_records(records: tf.Tensor) -> Records:
    valid = tf.ones_like(records, tf.bool)
    datasets = tf.zeros_like(records, tf.int32)
    return Records(
        records, valid, ~valid, datasets, tf.zeros([tf.size(records), 0], tf.float64)
    )


def _no_plan(source: RecordSource, feature: str) -> str:
    return (
        f"{source.name} is compressed ({source.compression}), so its records have no "
        f"byte offsets to start reading at, which rules out {feature}: write the file "
        "uncompressed (compression does not shrink images further)"
    )


# Number of files that are read concurrently, and of consecutive records from each.
_CONCURRENT_FILES = 16
_CONSECUTIVE_RECORDS = 16


def read_compressed(
    paths: list[str], compression: str, *, seed: int | None, window: int
) -> tf.data.Dataset:
    """Returns a Dataset of string[]: the serialized records of one epoch.

    Args:
        paths: Paths of the files.
        compression: `GZIP` or `ZLIB`.
        seed: Seed of the shuffled order; None for the written order.
        window: Size of the shuffle buffer, in records.
    """
    if seed is None:
        return tf.data.TFRecordDataset(paths, compression_type=compression)
    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=seed)
    records = files.interleave(
        lambda path: tf.data.TFRecordDataset(path, compression_type=compression),
        cycle_length=_CONCURRENT_FILES,
        block_length=_CONSECUTIVE_RECORDS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return records.shuffle(window, seed=seed + 1)
