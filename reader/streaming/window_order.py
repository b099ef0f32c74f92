"""Sorts the records of a window by the length of their captions."""

from collections.abc import Callable

import numpy as np

from reader.decode.example_arrays import ExampleArrays
from reader.pixel_workers.stored_records import StoredRecords
from reader.records.damaged_records import DamagedRecords
from reader.schedule.windows import Placed
from reader.shuffle.arrays import Int64s
from reader.streaming.stored_examples import NoImages

_LAST = np.iinfo(np.int32).max


def by_length(
    records: StoredRecords, arrays: ExampleArrays, damaged: DamagedRecords
) -> Callable[[Placed, int, bool], Int64s]:
    """Returns a function that sorts each stream of a window, as `load` does.

    Its arguments are the places of a window, the number of streams, and whether to sort
    from long to short. It returns int64[n].
    """

    def arrange(placed: Placed, columns: int, descending: bool) -> Int64s:
        places, none = placed.places, np.empty((len(placed.places), 0), np.uint8)
        read = records.make(NoImages(), places[:, 1:], placed.draws, none)
        lost = [n for n, record in enumerate(read) if record is None]
        if lost:
            found, _ = damaged(places[lost, 0], int(placed.laps[0]))
            for n, record in zip(lost, found, strict=True):
                read[n] = record
        whole = [record for record in read if record is not None]
        keys = arrays.caption_lengths(whole, placed.draws).astype(np.int64)
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
