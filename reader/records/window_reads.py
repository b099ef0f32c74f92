"""Windows of record numbers → a Dataset of serialised records, in just that order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from reader.datasets.record_index import RecordIndex
from reader.records.damaged_records import DamagedRecords
from reader.records.memory import keep_large_blocks
from reader.records.raw_windows import RawRecords
from reader.schedule.windows import Windows
from reader.storage.files import is_remote

# Reads at a time from a bucket, where each one waits for its answer. Here a single
# thread reads faster than many cores decode: docs/performance.md#reading.
_REMOTE_READS = 16


class Fetched(NamedTuple):
    """Records as they lie in files.

    Attributes:
        records: string[n]: serialised Examples, without pixels if these are held.
        intact: bool[n]: False where another one stands in.
        held: uint8[k]: bytes among which the pixels lie.
        begins: int64[n]: where those of each record begin.
        sizes: int64[n]: how many bytes these are.
    """

    records: tf.Tensor
    intact: tf.Tensor
    held: tf.Tensor | None = None
    begins: tf.Tensor | None = None
    sizes: tf.Tensor | None = None


# (pieces int64[m, 5], numbers int64[n], lengths int64[n]), as `Reads` has them.
Fetch = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Fetched]


def fetch_raw(read: RawRecords) -> Fetch:
    """Returns a function that fetches records, with their raw pixels held apart."""
    dtypes = (tf.uint8, tf.string, tf.int64, tf.int64, tf.bool)

    def fetch(pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor) -> Fetched:
        values = tf.numpy_function(read, [pieces, numbers, lengths], dtypes)
        flat = (tf.ensure_shape(value, [None]) for value in values)
        held, records, begins, sizes, intact = flat
        return Fetched(records, intact, held, begins, sizes)

    return fetch


def fetch_records(index: RecordIndex, damaged: DamagedRecords) -> Fetch:
    """Returns a function that fetches records by TensorFlow's own reader.

    It checks every checksum.
    """
    names = [shard.path for shard in index.shards]
    num_reads = _REMOTE_READS if any(map(is_remote, names)) else None
    paths = tf.constant(names)

    def at_once(
        pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        records = _records_of(pieces, paths, num_reads)
        # Fewer than these are an error, as a damaged one is.
        whole = records.batch(tf.size(numbers, tf.int64), drop_remainder=True)
        read = _checked(whole.get_single_element(), lengths)
        return read, tf.ones(tf.shape(read), tf.bool)

    def one_by_one(
        pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return tuple(tf.numpy_function(damaged, [numbers], (tf.string, tf.bool)))

    def fetch(pieces: tf.Tensor, numbers: tf.Tensor, lengths: tf.Tensor) -> Fetched:
        window = tf.data.Dataset.from_tensors((pieces, numbers, lengths))
        # An error in `map` uses up its input: that of the window, not of a record.
        # `ignore_errors` upon the reader itself would lose the rest of the shard, and
        # never return from one that cannot be opened.
        fast = window.map(at_once).ignore_errors()
        slow = window.map(one_by_one)
        fetched = fast.concatenate(slow).take(1).get_single_element()
        return Fetched(*(tf.ensure_shape(part, [None]) for part in fetched))

    return fetch


def _records_of(
    pieces: tf.Tensor, paths: tf.Tensor, num_reads: int | None
) -> tf.data.Dataset:
    # What can be done for all pieces is not left to `_records_of_piece`: TensorFlow
    # prepares that anew for each iterator: docs/performance.md has what it costs.
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
        block_length=1 << 20,  # One piece after the other.
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
    # Of the public readers none begins at an offset.
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
    """Returns records; an error if they have other lengths than they must have.

    A shard that was replaced by another holds intact records, of other lengths.
    """
    found = tf.cast(tf.strings.length(records), tf.int64)
    as_expected = tf.reduce_all((found == lengths) | (lengths < 0))
    # The plain operation: it says nothing that anyone sees.
    check = tf.raw_ops.Assert(condition=as_expected, data=[lengths])
    with tf.control_dependencies([check]):
        return tf.identity(records)


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
# (fetched, order, records, draws) → uint8[n, height, width, 3], where records are
# without their pixels; `order` has the places in `fetched` of the records.
TakeImages = Callable[[Fetched, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

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
        images: uint8[n, height, width, 3], where they were taken out of the records.
    """

    records: tf.Tensor
    valid: tf.Tensor
    blank: tf.Tensor
    draws: tf.Tensor
    images: tf.Tensor | tuple[()] = ()


def read_records(
    windows: Windows,
    fetch: Fetch,
    chunk: int,
    arrange: Arrange | None = None,
    take_images: TakeImages | None = None,
) -> tf.data.Dataset:
    """Returns a Dataset of `Records`, a chunk at a time.

    A window is read whole, and the next one while it is used up. So two windows are
    held at the most.

    Args:
        windows: What to read.
        fetch: How to read it.
        chunk: Of how many records.
        arrange: How to sort windows.
        take_images: How to make images, where `fetch` leaves them out of the records.
    """

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
        fetched = fetch(pieces, numbers, lengths)
        if arrange is not None:
            records = tf.gather(fetched.records, order)
            window = Unsorted(records, blank, draws, columns, descending)
            kept = arrange(window)[keep[0] : keep[1]]
            order, blank, draws = (tf.gather(x, kept) for x in (order, blank, draws))
        records = tf.gather(fetched.records, order)
        valid = tf.gather(fetched.intact, order) & ~blank
        taken = Records(records, valid, blank, draws)
        if take_images is None:
            return taken
        return taken._replace(images=take_images(fetched, order, records, draws))

    def begin() -> Iterator[tuple[Any, ...]]:
        keep_large_blocks()
        return windows()

    dataset = tf.data.Dataset.from_generator(begin, output_signature=_SIGNATURE)
    return dataset.map(take, num_parallel_calls=1).rebatch(chunk)
