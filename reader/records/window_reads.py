"""Windows of record numbers → a Dataset of serialized records in the same order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from reader.datasets.record_index import RecordIndex
from reader.records.damaged_records import DamagedRecords
from reader.records.memory import keep_large_blocks
from reader.records.python_calls import call_python, generate_python, weakly
from reader.schedule.windows import Windows
from reader.storage.files import is_remote

# Concurrent reads from a bucket, which hide its latency. For local files, a single
# thread reads faster than many cores decode: docs/performance-notes.md#reading.
_REMOTE_READS = 16


class Fetched(NamedTuple):
    """Records of a window in the order read.

    Attributes:
        records: string[n], serialized Examples.
        intact: bool[n], False for records replaced by a neighbor.
    """

    records: tf.Tensor
    intact: tf.Tensor


# (numbers int64[n], reads), as in `Reads` → Fetched. The reads are (pieces int64[m, 5],
# lengths int64[n]) of the records, and then of each layer.
Fetch = Callable[[tf.Tensor, Any], Fetched]


def fetch_records(index: RecordIndex, damaged: DamagedRecords) -> Fetch:
    """Returns a function that fetches records with TensorFlow's TFRecord reader.

    TensorFlow's reader verifies all checksums. If it fails, `damaged` reads the records
    of the window one by one. The caller keeps `damaged` alive.
    """
    names, reread = [file.path for file in index.files], weakly(damaged)
    num_reads = _REMOTE_READS if any(map(is_remote, names)) else None
    paths, fills = tf.constant(names), index.fills

    def read(numbers: tf.Tensor, pieces: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        records = _records_of(pieces, paths, num_reads)
        # Too few records raise an error, as damaged records do.
        whole = records.batch(tf.size(numbers, tf.int64), drop_remainder=True)
        return _checked(whole.get_single_element(), lengths)

    def at_once(numbers: tf.Tensor, reads: Any) -> tuple[tf.Tensor, tf.Tensor]:
        records, *added = (read(numbers, *each) for each in reads)
        for fill, of_layer in zip(fills, added, strict=True):
            is_there = tf.strings.length(of_layer) > 0
            after = tf.where(is_there, fill.present, fill.absent)
            records = tf.strings.join([records, of_layer, after])
        return records, tf.ones(tf.shape(records), tf.bool)

    def one_by_one(numbers: tf.Tensor, reads: Any) -> tuple[tf.Tensor, ...]:
        dtypes = (tf.string, tf.bool)
        return tuple(call_python(lambda lost: reread()(lost), [numbers], dtypes))

    def fetch(numbers: tf.Tensor, reads: Any) -> Fetched:
        window = tf.data.Dataset.from_tensors((numbers, reads))
        # An error in `map` consumes the input element: here a window, not a record.
        # `ignore_errors` on the reader itself would lose the rest of the shard, and
        # would never return for a shard that cannot be opened.
        fast = window.map(at_once).ignore_errors()
        slow = window.map(one_by_one)
        fetched = fast.concatenate(slow).take(1).get_single_element()
        return Fetched(*(tf.ensure_shape(part, [None]) for part in fetched))

    return fetch


def _records_of(
    pieces: tf.Tensor, paths: tf.Tensor, num_reads: int | None
) -> tf.data.Dataset:
    # Work shared by all pieces is done here, not in `_records_of_piece`: TensorFlow
    # prepares that function again for each iterator:
    # docs/performance-notes.md#the-beginning-of-an-epoch.
    shard, offset, skip, count, buffer_size = tf.unstack(pieces, num=5, axis=1)
    path = tf.gather(paths, shard[:, tf.newaxis])
    each = tf.data.Dataset.from_tensor_slices(
        (path, offset[:, tf.newaxis], skip, count, buffer_size)
    )
    if num_reads is None:
        return each.flat_map(_records_of_piece)
    return each.interleave(
        _records_of_piece,
        cycle_length=num_reads,
        block_length=1 << 20,  # Larger than a piece: yields pieces one by one.
        num_parallel_calls=num_reads,
        deterministic=True,
    )


def _records_of_piece(
    path: tf.Tensor,
    offset: tf.Tensor,
    skip: tf.Tensor,
    count: tf.Tensor,
    buffer_size: tf.Tensor,
) -> tf.data.Dataset:
    # No public reader of TensorFlow starts at a byte offset.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path,
        compression_type="",
        buffer_size=buffer_size,
        byte_offsets=offset,
        metadata="",
    )
    records = tf.data.experimental.from_variant(variant, tf.TensorSpec((), tf.string))
    return records.skip(skip).take(count)


def _checked(records: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns the records; fails if their lengths differ from the index.

    A shard that another shard has replaced holds intact records of other lengths.
    """
    found = tf.cast(tf.strings.length(records), tf.int64)
    as_expected = tf.reduce_all((found == lengths) | (lengths < 0))
    # The raw op suffices: no user sees its message.
    check = tf.raw_ops.Assert(condition=as_expected, data=[lengths])
    with tf.control_dependencies([check]):
        return tf.identity(records)


class Unsorted(NamedTuple):
    """A window of records before sorting.

    Attributes:
        records: string[n], serialized Examples.
        blank: bool[n], True for padding after the last record of an epoch.
        draws: float64[n, draws], random numbers of each record.
        columns: int64[], number of streams that the records alternate between,
            round-robin.
        descending: bool[], whether to sort from long to short: every second window of
            an epoch.
    """

    records: tf.Tensor
    blank: tf.Tensor
    draws: tf.Tensor
    columns: tf.Tensor
    descending: tf.Tensor


# Unsorted → int32[n], the sorted order of its records.
Arrange = Callable[[Unsorted], tf.Tensor]

_READS = (
    tf.TensorSpec((None, 5), tf.int64),  # pieces
    tf.TensorSpec((None,), tf.int64),  # record lengths in the order read
)
_SIGNATURE = (
    tf.TensorSpec((None,), tf.int64),  # record numbers in the order read
    tf.TensorSpec((None,), tf.int64),  # order
    tf.TensorSpec((None,), tf.bool),  # blank
    tf.TensorSpec((None,), tf.int32),  # datasets
    tf.TensorSpec((None, None), tf.float64),  # draws
    tf.TensorSpec((), tf.int64),  # columns
    tf.TensorSpec((), tf.bool),  # descending
    tf.TensorSpec((None,), tf.int64),  # keep
)


class Records(NamedTuple):
    """Records of a chunk in their final order.

    Attributes:
        records: string[n], serialized Examples.
        valid: bool[n], False for padding and for replaced records.
        blank: bool[n], True for padding after the last record of an epoch.
        datasets: int32[n], number of the dataset that each record belongs to.
        draws: float64[n, draws], random numbers of each record.
    """

    records: tf.Tensor
    valid: tf.Tensor
    blank: tf.Tensor
    datasets: tf.Tensor
    draws: tf.Tensor


def read_records(
    windows: Windows,
    fetch: Fetch,
    chunk: int,
    arrange: Arrange | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of `Records` in chunks.

    Reads whole windows and prefetches the next window while the current one is
    consumed, so at most two windows are in memory.

    Args:
        windows: Windows to read, which the caller keeps alive.
        fetch: Function that reads the records of a window.
        chunk: Number of records per chunk.
        arrange: Function that sorts a window; None keeps the order.
    """

    def take(
        reads: Any,
        numbers: tf.Tensor,
        order: tf.Tensor,
        blank: tf.Tensor,
        datasets: tf.Tensor,
        draws: tf.Tensor,
        columns: tf.Tensor,
        descending: tf.Tensor,
        keep: tf.Tensor,
    ) -> Records:
        fetched = fetch(numbers, reads)
        if arrange is not None:
            records = tf.gather(fetched.records, order)
            window = Unsorted(records, blank, draws, columns, descending)
            kept = tf.gather(arrange(window), keep)
            order, blank, datasets, draws = (
                tf.gather(x, kept) for x in (order, blank, datasets, draws)
            )
        records = tf.gather(fetched.records, order)
        valid = tf.gather(fetched.intact, order) & ~blank
        return Records(records, valid, blank, datasets, draws)

    current = weakly(windows)

    def begin() -> Iterator[tuple[Any, ...]]:
        keep_large_blocks()
        return generate_python(current()())

    reads = (_READS,) * (1 + len(windows.index.layers))
    dataset = tf.data.Dataset.from_generator(
        begin, output_signature=(reads, *_SIGNATURE)
    )
    return dataset.map(take, num_parallel_calls=1).rebatch(chunk)
