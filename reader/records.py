"""Windows of record numbers → a Dataset of serialised records, in just that order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from reader.files import is_remote
from reader.malloc import keep_large_blocks
from reader.repair import Repair
from reader.windows import Windows

# Reads at a time from a bucket, where each one waits for its answer. Here a single
# thread reads faster than many cores decode: docs/performance.md#reading.
_REMOTE_READS = 16


class Unsorted(NamedTuple):
    """A window of records, read.

    Attributes:
        records: string[n]: serialised Examples.
        blank: bool[n]: True where there is none, behind an epoch's last.
        draws: float64[n, draws]: what is left to chance about each.
        columns: int64[]: streams that they are of in turn.
        descending: bool[]: Whether such a window falls where others rise.
    """

    records: tf.Tensor
    blank: tf.Tensor
    draws: tf.Tensor
    columns: tf.Tensor
    descending: tf.Tensor


# Unsorted → int32[n]: the order to bring it in.
Arrange = Callable[[Unsorted], tf.Tensor]

_SIGNATURE = (
    tf.TensorSpec((None, 5), tf.int64),  # pieces
    tf.TensorSpec((None,), tf.int64),  # numbers of the records, as they are read
    tf.TensorSpec((None,), tf.int64),  # lengths of these
    tf.TensorSpec((None,), tf.int64),  # order of these
    tf.TensorSpec((None,), tf.bool),  # blank
    tf.TensorSpec((None, None), tf.float64),  # draws
    tf.TensorSpec((), tf.int64),  # columns
    tf.TensorSpec((), tf.bool),  # descending
    tf.TensorSpec((2,), tf.int64),  # keep
)


class Records(NamedTuple):
    """Records on their way.

    Attributes:
        records: string[n]: the serialised Examples.
        valid: bool[n]: False where one fills a place that is not its own.
        blank: bool[n]: True where that place is no record's, behind an epoch's last.
        draws: float64[n, draws]: what is left to chance about each.
    """

    records: tf.Tensor
    valid: tf.Tensor
    blank: tf.Tensor
    draws: tf.Tensor


def read_records(
    windows: Windows, repair: Repair, chunk: int, arrange: Arrange | None = None
) -> tf.data.Dataset:
    """Returns a Dataset of `Records`, a chunk at a time.

    A window is read whole, by TensorFlow's own reader, which checks every checksum; the
    next one is read while it is used up. So two windows are held at the most.
    """
    paths = [shard.path for shard in windows.index.shards]
    reads = _REMOTE_READS if any(map(is_remote, paths)) else None
    read = _make_reader(tf.constant(paths), reads, repair)

    def take(
        pieces: tf.Tensor,
        numbers: tf.Tensor,
        lengths: tf.Tensor,
        order: tf.Tensor,
        blank: tf.Tensor,
        draws: tf.Tensor,
        columns: tf.Tensor,
        descending: tf.Tensor,
        keep: tf.Tensor,
    ) -> Records:
        records, intact = read(pieces, numbers, lengths)
        records, valid = tf.gather(records, order), tf.gather(intact, order) & ~blank
        taken = Records(records, valid, blank, draws)
        if arrange is None:
            return taken
        sooner = arrange(Unsorted(records, blank, draws, columns, descending))
        kept = sooner[keep[0] : keep[1]]
        return Records(*(tf.gather(part, kept) for part in taken))

    def begin() -> Iterator[tuple[Any, ...]]:
        keep_large_blocks()
        return windows()

    dataset = tf.data.Dataset.from_generator(begin, output_signature=_SIGNATURE)
    return dataset.map(take, num_parallel_calls=1).rebatch(chunk)


def _make_reader(
    paths: tf.Tensor, num_reads: int | None, repair: Repair
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns (pieces, numbers, lengths) → string[n] records, bool[n] intact."""

    def read_piece(
        path: tf.Tensor,
        offset: tf.Tensor,
        skip: tf.Tensor,
        count: tf.Tensor,
        buffer_size: tf.Tensor,
    ) -> tf.data.Dataset:
        # Of the public readers none begins at an offset.
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=path,
            compression_type="",
            buffer_size=buffer_size,
            byte_offsets=offset,
            metadata="",
        )
        records = tf.data.experimental.from_variant(
            variant, tf.TensorSpec((), tf.string)
        )
        return records.skip(skip).take(count)

    def read_at_once(
        pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        # What can be done for all pieces is not left to `read_piece`: TensorFlow
        # prepares that anew for each iterator: docs/performance.md has what it costs.
        shard, offset, skip, count, buffer_size = tf.unstack(pieces, num=5, axis=1)
        path = tf.gather(paths, shard[:, tf.newaxis])
        records = tf.data.Dataset.from_tensor_slices(
            (path, offset[:, tf.newaxis], skip, count, buffer_size)
        )
        if num_reads is None:
            records = records.flat_map(read_piece)
        else:
            records = records.interleave(
                read_piece,
                cycle_length=num_reads,
                block_length=1 << 20,  # One piece after the other.
                num_parallel_calls=num_reads,
                deterministic=True,
            )
        # Fewer than these are an error, as a damaged one is.
        whole = records.batch(tf.size(numbers, tf.int64), drop_remainder=True)
        read = whole.get_single_element()
        # A shard that was replaced by another holds intact records, of other lengths.
        found = tf.cast(tf.strings.length(read), tf.int64)
        as_expected = tf.reduce_all((found == lengths) | (lengths < 0))
        # The plain operation: it says nothing that anyone sees.
        check = tf.raw_ops.Assert(condition=as_expected, data=[lengths])
        with tf.control_dependencies([check]):
            return tf.identity(read), tf.ones(tf.shape(read), tf.bool)

    def read_one_by_one(
        pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return tuple(tf.numpy_function(repair, [numbers], (tf.string, tf.bool)))

    def read(
        pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.data.Dataset.from_tensors((pieces, numbers, lengths))
        # An error in `map` uses up its input: that of the window, not of a record.
        # `ignore_errors` upon the reader itself would lose the rest of the shard, and
        # never return from one that cannot be opened.
        fast = window.map(read_at_once).ignore_errors()
        slow = window.map(read_one_by_one)
        records, intact = fast.concatenate(slow).take(1).get_single_element()
        return tf.ensure_shape(records, [None]), tf.ensure_shape(intact, [None])

    return read
