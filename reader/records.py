"""Windows of record numbers → a Dataset of serialised records, in just that order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from reader.fetching import Fetch, Fetched
from reader.malloc import keep_large_blocks
from reader.windows import Windows


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
