"""Sorts the records of a window by the length of their captions."""

from collections.abc import Callable

import numpy as np

from reader.decode.example_arrays import ExampleArrays
from reader.remote_records.access import WholeRecords
from reader.schedule.windows import Placed
from reader.shuffle.arrays import Int64s

_LAST = np.iinfo(np.int32).max


def by_length(
    read: WholeRecords, arrays: ExampleArrays
) -> Callable[[Placed, int, bool], Int64s]:
    """Returns a function that sorts each stream of a window, as `load` does.

    Its arguments are the places of a window, the number of streams, and whether to sort
    from long to short. It returns int64[n].
    """

    def arrange(placed: Placed, columns: int, descending: bool) -> Int64s:
        records, _ = read(placed.places, int(placed.laps[0]))
        keys = arrays.caption_lengths(records, placed.draws).astype(np.int64)
        keys = np.where(descending, -keys, keys)
        # Positions without a record stay behind all records.
        return sort_columns(np.where(placed.blank, _LAST - 1, keys), columns)

    return arrange


def sort_columns(keys: Int64s, columns: int) -> Int64s:
    """Returns int64[n]: the order that sorts each column in ascending order.

    Args:
        keys: int64[n]: Sort keys as a flattened table; the last row may be short.
        columns: Number of columns of the table.
    """
    rows = -(-len(keys) // columns)
    fill = np.full(rows * columns - len(keys), _LAST)
    table = np.concatenate([keys, fill]).reshape(rows, columns)
    rank = np.argsort(table, axis=0, kind="stable")
    order: Int64s = (rank * columns + np.arange(columns)).ravel()[: len(keys)]
    return order
