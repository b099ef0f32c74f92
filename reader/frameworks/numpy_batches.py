"""Batches as NumPy arrays."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


class NumpyBatches:
    """Batches as NumPy arrays. Each new iterator is the next epoch."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        """Takes a `tf.data.Dataset`."""
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Yields batches."""
        return iter(self._batches.as_numpy_iterator())

    def __len__(self) -> int:
        """Returns how many batches the first iterator has."""
        return len(self._batches)
