"""Converts batches for NumPy, JAX and PyTorch; imports a framework only when needed."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError
from reader.frameworks.tasks import is_dataset
from reader.streaming.stream import Stream

if TYPE_CHECKING:
    from reader.frameworks.jax_batches import JaxBatches
    from reader.frameworks.torch_batches import TorchBatches


def as_numpy(batches: Any) -> Iterable[Any]:
    """Converts batches to NumPy arrays and keeps their structure.

    Arrays of a Dataset share memory with TensorFlow and are read-only; `array.copy()`
    returns a writable array. Strings become object arrays of `bytes`. A `Stream` is
    returned as it is.

    Args:
        batches: What `reader.load` or `reader.stream` returned, or any
            `tf.data.Dataset`.

    Returns:
        An iterable of batches. Each new iterator is the next epoch.

    Raises:
        UsageError: `batches` is something else.
    """
    if isinstance(batches, Stream):
        return batches
    _check_dataset("as_numpy", batches)
    from reader.frameworks.numpy_batches import NumpyBatches

    return NumpyBatches(batches)


def as_jax(batches: Any, sharding: Any = None, *, prefetch: int = 2) -> "JaxBatches":
    """Converts batches to JAX arrays and keeps their structure.

    With a sharding over a mesh, each array is a global array. This process provides its
    own part, the batches of
    `reader.stream(…, host_index=jax.process_index(), host_count=jax.process_count())`.
    Strings remain NumPy arrays of `bytes`.

        mesh = jax.make_mesh((jax.device_count(),), ("data",))
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        for batch in reader.as_jax(batches, sharding):
            state = train_step(state, batch)

    TensorFlow leaves the GPUs to JAX, unless the process has already run TensorFlow
    operations other than `reader.load`.

    Args:
        batches: What `reader.load` or `reader.stream` returned, or any
            `tf.data.Dataset`.
        sharding: A `jax.sharding.Sharding` for every array. The default None places
            arrays on JAX's default device.
        prefetch: Number of batches to transfer to the devices in advance, 2 by default.

    Returns:
        An iterable of batches. Each new iterator is the next epoch.

    Raises:
        UsageError: An argument is invalid, the sharding does not divide the batch or
            joins another number of hosts, or JAX is not installed.
    """
    _check_dataset("as_jax", batches)
    check_at_least("prefetch", prefetch, 0)
    try:
        from reader.frameworks.jax_batches import JaxBatches
    except ModuleNotFoundError as error:
        raise UsageError(f"as_jax needs JAX: pip install jax ({error})") from None
    if isinstance(batches, Stream):
        # What is sharded by more than its batch, JAX checks itself.
        by_batch = len(getattr(sharding, "spec", ())) <= 1
        shapes = [(batches.config.host_batch_size,)] if by_batch else []
        return JaxBatches(batches, batches, shapes, sharding, prefetch)
    from reader.frameworks.numpy_batches import NumpyBatches, shapes_of

    leave_accelerators()
    # Without a sharding, the Dataset need not be built yet.
    known = [] if sharding is None else shapes_of(batches)
    return JaxBatches(batches, NumpyBatches(batches), known, sharding, prefetch)


def as_torch(batches: Any, *, device: Any = None) -> "TorchBatches":
    """Converts batches to PyTorch tensors and keeps their structure.

    Iterate over the result directly, or wrap it as
    `DataLoader(dataset, batch_size=None, num_workers=0)`. The tensors are writable.
    Strings become lists of `bytes`. Of a `Stream`, the result has `state_dict` and
    `load_state_dict`.

    TensorFlow leaves the GPUs to PyTorch, unless the process has already run TensorFlow
    operations other than `reader.load`.

    Args:
        batches: What `reader.load` or `reader.stream` returned, or any
            `tf.data.Dataset`.
        device: Device to copy tensors to, such as `"cuda"`: from pinned memory, without
            waiting, one batch ahead. The default None leaves them in memory.

    Returns:
        A `torch.utils.data.IterableDataset` whose items are whole batches. Each new
        iterator is the next epoch.

    Raises:
        UsageError: `batches` is something else, or PyTorch is not installed.
    """
    _check_dataset("as_torch", batches)
    try:
        from reader.frameworks.torch_batches import ResumableTorchBatches
    except ModuleNotFoundError as error:
        raise UsageError(
            f"as_torch needs PyTorch: pip install torch ({error})"
        ) from None
    if isinstance(batches, Stream):
        return ResumableTorchBatches(batches, device)
    leave_accelerators()
    from reader.frameworks.torch_from_tensorflow import TensorFlowBatches

    return TensorFlowBatches(batches, device)


def _check_dataset(name: str, batches: object) -> None:
    if not isinstance(batches, Stream) and not is_dataset(batches):
        raise UsageError(
            f"{name} needs batches from reader.load or reader.stream, got "
            f"{type(batches).__name__}"
        )


def leave_accelerators() -> None:
    """Hides the GPUs from TensorFlow, which would otherwise allocate all their memory.

    Warns if TensorFlow has already initialized the GPUs.
    """
    import tensorflow as tf

    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # TensorFlow has already initialized its devices.
        if tf.config.list_logical_devices("GPU"):
            warnings.warn(
                "TensorFlow has already initialized the GPUs, so they may have no free "
                'memory: call tf.config.set_visible_devices([], "GPU") before any '
                "other TensorFlow operation",
                stacklevel=3,
            )
