"""Windows of record numbers → a Dataset of serialized records in the same order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from reader.records.damaged_records import DamagedRecords
from reader.records.memory import keep_large_blocks
from reader.records.python_calls import call_python, generate_python, weakly
from reader.schedule.windows import Windows


class Fetched(NamedTuple):
    """Records of a window in any order.

    Attributes:
        records: string[k], serialized Examples.
        intact: bool[k], False for records replaced by a neighbor.
        order: int64[n], position among these of each record of the window.
    """

    records: tf.Tensor
    intact: tf.Tensor
    order: tf.Tensor


class WindowSource(NamedTuple):
    """What the records of windows come from.

    Attributes:
        begin: Starts an iterator, which yields for each window what `fetch` takes, and
            then all of a window that `Staged` has besides the places.
        signature: Types of what `fetch` takes.
        fetch: Function from these tensors to the records of a window.
    """

    begin: Callable[[], Iterator[tuple[Any, ...]]]
    signature: Any
    fetch: Callable[..., Fetched]


def local_windows(windows: Windows, damaged: DamagedRecords) -> WindowSource:
    """Returns a source of records in local files, by TensorFlow's TFRecord reader.

    TensorFlow's reader verifies all checksums. If it fails, `damaged` reads the records
    of the window one by one. A single thread reads faster than many cores decode:
    docs/performance-notes.md#reading. The caller keeps `windows` and `damaged` alive.
    """
    index, reread = windows.index, weakly(damaged)
    paths, fills = tf.constant([file.path for file in index.files]), index.fills

    def read(numbers: tf.Tensor, pieces: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        records = _records_of(pieces, paths)
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

    def fetch(reads: Any, numbers: tf.Tensor, order: tf.Tensor) -> Fetched:
        window = tf.data.Dataset.from_tensors((numbers, reads))
        # An error in `map` consumes the input element: here a window, not a record.
        # `ignore_errors` on the reader itself would lose the rest of the shard, and
        # would never return for a shard that cannot be opened.
        fast = window.map(at_once).ignore_errors()
        slow = window.map(one_by_one)
        fetched = fast.concatenate(slow).take(1).get_single_element()
        records, intact = (tf.ensure_shape(part, [None]) for part in fetched)
        return Fetched(records, intact, order)

    signature = ((_READS,) * (1 + len(index.layers)), _NUMBERS, _NUMBERS)
    get_windows = weakly(windows)
    return WindowSource(lambda: get_windows()(), signature, fetch)


def _records_of(pieces: tf.Tensor, paths: tf.Tensor) -> tf.data.Dataset:
    # Work shared by all pieces is done here, not in `_records_of_piece`: TensorFlow
    # prepares that function again for each iterator:
    # docs/performance-notes.md#the-beginning-of-an-epoch.
    shard, offset, skip, count = tf.unstack(pieces, num=4, axis=1)
    path = tf.gather(paths, shard[:, tf.newaxis])
    each = tf.data.Dataset.from_tensor_slices(
        (path, offset[:, tf.newaxis], skip, count)
    )
    return each.flat_map(_records_of_piece)


def _records_of_piece(
    path: tf.Tensor, offset: tf.Tensor, skip: tf.Tensor, count: tf.Tensor
) -> tf.data.Dataset:
    # No public reader of TensorFlow starts at a byte offset.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path,
        compression_type="",
        buffer_size=0,  # The file system's own.
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
    tf.TensorSpec((None, 4), tf.int64),  # pieces
    tf.TensorSpec((None,), tf.int64),  # record lengths in the order read
)
_NUMBERS = tf.TensorSpec((None,), tf.int64)
_REST = (
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
    source: WindowSource,
    chunk: int,
    arrange: Arrange | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of `Records` in chunks.

    Reads whole windows and prefetches the next window while the current one is
    consumed, so at most two windows are in memory.

    Args:
        source: Source of the windows, whose inputs the caller keeps alive.
        chunk: Number of records per chunk.
        arrange: Function that sorts a window; None keeps the order.
    """

    def take(
        inputs: Any,
        blank: tf.Tensor,
        datasets: tf.Tensor,
        draws: tf.Tensor,
        columns: tf.Tensor,
        descending: tf.Tensor,
        keep: tf.Tensor,
    ) -> Records:
        fetched = source.fetch(*inputs)
        order = fetched.order
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

    def begin() -> Iterator[tuple[Any, ...]]:
        keep_large_blocks()
        return generate_python(source.begin())

    dataset = tf.data.Dataset.from_generator(
        begin, output_signature=(source.signature, *_REST)
    )
    return dataset.map(take, num_parallel_calls=1).rebatch(chunk)
