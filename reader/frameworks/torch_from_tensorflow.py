"""Converts batches of TensorFlow to PyTorch tensors."""

from typing import Any

import tensorflow as tf
from torch.utils.dlpack import from_dlpack

from reader.frameworks.torch_batches import TorchBatches
from reader.loader.batch_dataset import Batches

# Size in bytes from which tensors share memory with TensorFlow. Smaller tensors are
# copied: TensorFlow may reuse a constant tensor in every batch, and writing to that
# tensor would change all batches.
_SHARED_BYTES = 64 << 10


class TensorFlowBatches(TorchBatches):
    """Iterable of a Dataset's batches as PyTorch tensors."""

    def _tensors(self, batch: Any) -> Any:
        return tf.nest.map_structure(self._tensor, batch)

    def _tensor(self, values: tf.Tensor) -> Any:
        if values.dtype == tf.string:
            return values.numpy().tolist()
        shared = from_dlpack(tf.experimental.dlpack.to_dlpack(values))
        size = values.dtype.size * values.shape.num_elements()
        # Tensors of any other Dataset may be in a cache, which writing would change.
        is_private = isinstance(self._batches, Batches)
        return shared if is_private and size >= _SHARED_BYTES else shared.clone()
