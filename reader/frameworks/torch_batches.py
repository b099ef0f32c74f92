"""Batches as PyTorch tensors."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.dlpack import from_dlpack

from reader.contract.errors import UsageError
from reader.loader.batch_dataset import Batches

# Smaller tensors are copied: TensorFlow may keep one that is the same in every batch,
# and whoever writes to it would change all of them.
_SHARED_BYTES = 64 << 10

_NO_WORKERS = (
    "batches of reader.load are made by threads of their own, and of several workers "
    "each would yield all of them: use DataLoader(…, batch_size=None, num_workers=0), "
    "or reader.open, which workers can share"
)


class TorchBatches(IterableDataset[Any]):
    """Batches as PyTorch tensors. Each new iterator is the next epoch."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        """Takes a `tf.data.Dataset`."""
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Yields batches.

        Raises:
            UsageError: It runs in a worker of a `DataLoader`.
        """
        if get_worker_info() is not None:
            raise UsageError(_NO_WORKERS)
        for batch in self._batches:
            yield tf.nest.map_structure(self._convert, batch)

    def __len__(self) -> int:
        """Returns how many batches the first iterator has."""
        return len(self._batches)

    def __reduce__(self) -> Any:
        """Refuses to be sent to a worker of a `DataLoader`.

        Raises:
            UsageError: Always.
        """
        raise UsageError(_NO_WORKERS)

    def _convert(self, values: tf.Tensor) -> Any:
        if values.dtype == tf.string:
            return values.numpy().tolist()
        shared = from_dlpack(tf.experimental.dlpack.to_dlpack(values))
        size = values.dtype.size * values.shape.num_elements()
        # Others' Datasets may come from a cache, which writing would change.
        ours = isinstance(self._batches, Batches)
        return shared if ours and size >= _SHARED_BYTES else shared.clone()
