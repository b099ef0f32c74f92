"""Converts batches to NumPy arrays."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


class NumpyBatches:
    """Iterable of batches as NumPy arrays. Each new iterator is the next epoch."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        """Wraps a `tf.data.Dataset` of batches."""
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Starts the next iterator over the batches."""
        return iter(self._batches.as_numpy_iterator())

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator."""
        return len(self._batches)


def shapes_of(batches: tf.data.Dataset) -> list[tuple[int | None, ...]]:
    """Returns the known shapes of the arrays of numbers in a batch."""
    return [
        tuple(spec.shape)
        for spec in tf.nest.flatten(batches.element_spec)
        if spec.dtype != tf.string and spec.shape.rank is not None
    ]
