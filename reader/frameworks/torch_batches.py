"""Converts batches to PyTorch tensors."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.dlpack import from_dlpack

from reader.contract.errors import UsageError
from reader.loader.batch_dataset import Batches

# Size in bytes from which tensors share memory with TensorFlow. Smaller tensors are
# copied: TensorFlow may reuse a constant tensor in every batch, and writing to that
# tensor would change all batches.
_SHARED_BYTES = 64 << 10

_NO_WORKERS = (
    "reader.load uses its own threads, and each DataLoader worker would yield all "
    "batches: use DataLoader(…, batch_size=None, num_workers=0), or reader.open, which "
    "supports workers"
)


class TorchBatches(IterableDataset[Any]):
    """Iterable of batches as PyTorch tensors. Each new iterator is the next epoch."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        """Wraps a `tf.data.Dataset` of batches."""
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Yields batches.

        Raises:
            UsageError: The iterator runs in a worker of a `DataLoader`.
        """
        if get_worker_info() is not None:
            raise UsageError(_NO_WORKERS)
        for batch in self._batches:
            yield tf.nest.map_structure(self._convert, batch)

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator."""
        return len(self._batches)

    def __reduce__(self) -> Any:
        """Prevents pickling, by which a `DataLoader` sends datasets to its workers.

        Raises:
            UsageError: Always.
        """
        raise UsageError(_NO_WORKERS)

    def _convert(self, values: tf.Tensor) -> Any:
        if values.dtype == tf.string:
            return values.numpy().tolist()
        shared = from_dlpack(tf.experimental.dlpack.to_dlpack(values))
        size = values.dtype.size * values.shape.num_elements()
        # Tensors of any other Dataset may be in a cache, which writing would change.
        is_private = isinstance(self._batches, Batches)
        return shared if is_private and size >= _SHARED_BYTES else shared.clone()
