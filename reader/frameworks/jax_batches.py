"""Converts batches to JAX arrays and transfers them to the devices in advance."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from reader.contract.errors import UsageError
from reader.schedule.resumable import Resumable

_INT32 = np.iinfo(np.int32)


class JaxBatches:
    """Iterable of batches as JAX arrays. Each new iterator is the next epoch."""

    def __init__(
        self,
        batches: Any,
        arrays: Iterable[Any],
        shapes: Sequence[tuple[int | None, ...]],
        sharding: Any,
        ahead: int,
    ) -> None:
        """Checks that the sharding divides the batches.

        Args:
            batches: What the arrays are of.
            arrays: Batches of NumPy arrays.
            shapes: Shapes of the arrays of numbers in a batch.
            sharding: A `jax.sharding.Sharding`; None for JAX's default device.
            ahead: Number of batches to transfer in advance.

        Raises:
            UsageError: `sharding` is not a `jax.sharding.Sharding`, it does not divide
                a batch, or it joins the batches of another number of hosts.
        """
        self._run, self._batches = batches, arrays
        self._sharding, self._ahead = sharding, ahead
        if sharding is not None:
            if not isinstance(sharding, jax.sharding.Sharding):
                raise UsageError(
                    "sharding must be a jax.sharding.Sharding, such as "
                    f"NamedSharding(mesh, PartitionSpec('data')), got {sharding!r}"
                )
            for shape in shapes:
                num_hosts = _check_divides(sharding, shape)
                if isinstance(batches, Resumable):
                    _check_hosts(sharding, shape, num_hosts, batches)

    def __iter__(self) -> Iterator[Any]:
        """Yields batches while the next ones are being transferred."""
        ready: deque[Any] = deque()
        for batch in self._batches:
            ready.append(self._ahead_of_use(batch))
            if len(ready) > self._ahead:
                yield self._use(*ready.popleft())
        while ready:
            yield self._use(*ready.popleft())

    def _ahead_of_use(self, batch: Any) -> tuple[Any, int]:
        """Starts the transfer of a batch; returns it with the index of its iterator.

        For `reader.state`, the batch counts as taken only when it is yielded.
        """
        iterator = 0
        if isinstance(self._run, Resumable):
            iterator = self._run.latest
            self._run.note_taken(iterator, -1)
        return jax.tree.map(self._put, batch), iterator

    def _use(self, batch: Any, iterator: int) -> Any:
        if isinstance(self._run, Resumable):
            self._run.note_taken(iterator, 1)
        return batch

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator."""
        return len(self._batches)  # type: ignore[arg-type]

    def _put(self, values: Any) -> Any:
        if values.dtype == object:
            return values
        _check_width(values)
        if self._sharding is None:
            return jax.device_put(values)
        make: Any = jax.make_array_from_process_local_data
        return make(self._sharding, values)


def _check_divides(sharding: Any, sides: tuple[int | None, ...]) -> int:
    """Checks the shape of a global array; returns the number of hosts it joins."""
    # An unknown dimension counts as 0, which every sharding divides.
    local, *rest = (side or 0 for side in sides)
    shape: tuple[int, ...] = (local, *rest)
    try:
        num_hosts = _num_hosts(sharding, len(shape))
        shape = (local * num_hosts, *rest)
        sharding.shard_shape(shape)
    except ValueError as error:
        raise UsageError(
            f"sharding does not divide a batch of shape {shape}: choose a batch_size "
            f"that is divisible by the mesh axes ({error})"
        ) from None
    return num_hosts


def _num_hosts(sharding: Any, ndim: int) -> int:
    """Returns the number of hosts whose rows make up a global array.

    Processes that hold the same rows, each on its own devices, count as one host.
    """
    shape = (sharding.num_devices,) * ndim  # Every sharding divides it.
    everywhere = sharding.devices_indices_map(shape).values()
    here = sharding.addressable_devices_indices_map(shape).values()
    num_parts = len({rows.start for rows, *_ in everywhere})
    return num_parts // len({rows.start for rows, *_ in here})


def _check_hosts(
    sharding: Any, sides: tuple[int | None, ...], num_hosts: int, batches: Resumable
) -> None:
    """Checks that a global array holds the shares of all hosts, each once.

    Raises:
        UsageError: It would hold examples twice, or others in each process.
    """
    # Arrays of one process may hold the share of any host.
    if sharding.is_fully_addressable or not sides[0]:
        return
    host_count = batches.position.batch_size // sides[0]
    if num_hosts != host_count:
        raise UsageError(
            f"sharding spreads each batch over {num_hosts} hosts, but these batches "
            f"have host_count={host_count}: pass host_count={num_hosts}, and the same "
            "host_index to processes that hold the same examples, such as "
            "host_index=jax.process_index() if each holds its own"
        )


def _check_width(values: np.ndarray[Any, Any]) -> None:
    """Raises a UsageError for integers that JAX would silently truncate to 32 bits."""
    if values.dtype != np.int64 or _has_64_bits():
        return
    wide = values[(values < _INT32.min) | (values > _INT32.max)]
    if wide.size:
        raise UsageError(
            f"a batch holds {wide.flat[0]}, but JAX truncates integers to 32 bits: "
            'call jax.config.update("jax_enable_x64", True), or leave that output out'
        )


def _has_64_bits() -> bool:
    config: Any = jax.config
    return bool(config.jax_enable_x64)
