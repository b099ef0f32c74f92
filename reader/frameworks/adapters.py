"""Batches for other frameworks: NumPy, JAX, PyTorch. Each is loaded when asked for."""

import warnings
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError
from reader.frameworks.numpy_batches import NumpyBatches

if TYPE_CHECKING:
    from reader.frameworks.jax_batches import JaxBatches
    from reader.frameworks.torch_batches import TorchBatches


def as_numpy(batches: tf.data.Dataset) -> NumpyBatches:
    """Returns batches as NumPy arrays, in the structure they have.

    Arrays share TensorFlow's memory and cannot be written to; `array.copy()` can. Texts
    are arrays of `bytes`.

    Args:
        batches: What `reader.load` returned, or any `tf.data.Dataset`.

    Raises:
        UsageError: It is something else.
    """
    _check_dataset("as_numpy", batches)
    return NumpyBatches(batches)


def as_jax(
    batches: tf.data.Dataset, sharding: Any = None, *, prefetch: int = 2
) -> "JaxBatches":
    """Returns batches as JAX arrays, in the structure they have.

    With a sharding over a mesh each array is a global one: batches of
    `reader.load(…, host_index=jax.process_index(), host_count=jax.process_count())`
    are this process's part of it. Texts stay NumPy arrays of `bytes`.

        mesh = jax.make_mesh((jax.device_count(),), ("data",))
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        for batch in reader.as_jax(batches, sharding):
            state = train_step(state, batch)

    TensorFlow leaves the GPUs to JAX, if nothing of it but `reader.load` was used.

    Args:
        batches: What `reader.load` returned, or any `tf.data.Dataset`.
        sharding: A `jax.sharding.Sharding`, of each array; None for JAX's default
            device.
        prefetch: Batches to transfer ahead.

    Raises:
        UsageError: An argument is wrong, the sharding does not divide the batch, or JAX
            is not installed.
    """
    _check_dataset("as_jax", batches)
    check_at_least("prefetch", prefetch, 0)
    try:
        from reader.frameworks.jax_batches import JaxBatches
    except ModuleNotFoundError as error:
        raise UsageError(f"as_jax needs JAX: pip install jax ({error})") from None
    leave_accelerators()
    return JaxBatches(batches, sharding, prefetch)


def as_torch(batches: tf.data.Dataset) -> "TorchBatches":
    """Returns batches as PyTorch tensors, in the structure they have.

    An `IterableDataset` whose items are whole batches: iterate over it, or wrap it as
    `DataLoader(dataset, batch_size=None, num_workers=0, pin_memory=True)`. Tensors may
    be written to. Texts are lists of `bytes`.

    TensorFlow leaves the GPUs to PyTorch, if nothing of it but `reader.load` was used.

    Args:
        batches: What `reader.load` returned, or any `tf.data.Dataset`.

    Raises:
        UsageError: It is something else, or PyTorch is not installed.
    """
    _check_dataset("as_torch", batches)
    try:
        from reader.frameworks.torch_batches import TorchBatches
    except ModuleNotFoundError as error:
        raise UsageError(
            f"as_torch needs PyTorch: pip install torch ({error})"
        ) from None
    leave_accelerators()
    return TorchBatches(batches)


def _check_dataset(name: str, batches: object) -> None:
    if not isinstance(batches, tf.data.Dataset):
        raise UsageError(
            f"{name} needs batches of reader.load, got {type(batches).__name__}"
        )


def leave_accelerators() -> None:
    """Keeps TensorFlow from GPUs, which it would otherwise fill at its first operation.

    Warns where that has happened already.
    """
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # It has looked at its devices, and they stay as they are.
        if tf.config.list_logical_devices("GPU"):
            warnings.warn(
                "TensorFlow has taken the GPUs already, so there may be no memory left "
                'on them: call tf.config.set_visible_devices([], "GPU") first of all',
                stacklevel=3,
            )
