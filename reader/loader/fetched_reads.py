"""Windows of records that this package fetches from buckets, for TensorFlow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from reader.records.damaged_records import DamagedRecords
from reader.records.python_calls import weakly
from reader.records.window_reads import Fetched, WindowSource
from reader.remote_records.access import Access, WholeRecords
from reader.schedule.windows import Windows


class FetchedReads:
    """Reads whole windows, for batches that pixel workers cannot read."""

    def __init__(
        self, windows: Windows, access: Access, damaged: DamagedRecords
    ) -> None:
        """Initializes the reads.

        Args:
            windows: Windows to read.
            access: Access to their records.
            damaged: Reader of damaged records.
        """
        self._windows, self._access = windows, access
        self._read = WholeRecords(windows, access, damaged)

    def source(self) -> WindowSource:
        """Returns the windows, for `read_records`; the caller keeps this alive."""
        get = weakly(self)
        strings = tf.TensorSpec((None,), tf.string)
        bools = tf.TensorSpec((None,), tf.bool)
        return WindowSource(lambda: get()._begin(), (strings, bools), _fetched)

    def _begin(self) -> Iterator[tuple[Any, ...]]:
        staging = self._access.begin()
        return self._elements(self._windows.staged(staging), staging.close)

    def _elements(self, windows: Any, close: Any) -> Iterator[tuple[Any, ...]]:
        try:
            for window in windows:
                records, intact = self._read(window.places)
                yield (np.array(records, object), intact), *window[1:]
        finally:
            close()


def _fetched(records: tf.Tensor, intact: tf.Tensor) -> Fetched:
    return Fetched(records, intact, tf.range(tf.size(records, tf.int64)))
