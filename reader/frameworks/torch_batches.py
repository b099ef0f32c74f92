"""Converts batches to PyTorch tensors."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from reader.contract.errors import UsageError
from reader.schedule.resumable import Resumable, ResumableIterator

_NO_WORKERS = (
    "batches of reader.load and reader.stream are made by threads and processes of "
    "their own, and each DataLoader worker would yield all of them: use "
    "DataLoader(…, batch_size=None, num_workers=0), or reader.open, which supports "
    "workers"
)


class TorchBatches(IterableDataset[Any]):
    """Iterable of batches as PyTorch tensors. Each new iterator is the next epoch."""

    def __init__(self, batches: Any, device: Any = None) -> None:
        """Wraps batches.

        Args:
            batches: Iterable of batches.
            device: Device to copy tensors to; None to leave them in memory.
        """
        self._batches = batches
        self._device = None if device is None else torch.device(device)

    def __iter__(self) -> Iterator[Any]:
        """Yields batches.

        Raises:
            UsageError: The iterator runs in a worker of a `DataLoader`.
        """
        if get_worker_info() is not None:
            raise UsageError(_NO_WORKERS)
        if self._device is None:
            yield from map(self._tensors, self._batches)
            return
        # One batch is on its way while the one before it is used.
        sent: deque[Any] = deque()
        for batch in map(self._tensors, self._batches):
            self._note_taken(-1)
            sent.append(_mapped(self._send, batch))
            if len(sent) > 1:
                self._note_taken(1)
                yield sent.popleft()
        while sent:
            self._note_taken(1)
            yield sent.popleft()

    def _note_taken(self, num: int) -> None:
        """Counts a batch as taken, for its state, when it is yielded."""
        if isinstance(self._batches, Resumable):
            self._batches.note_taken(self._batches.latest, num)

    def _send(self, values: Any) -> Any:
        if not isinstance(values, torch.Tensor):
            return values
        if self._device is not None and self._device.type == "cuda":
            values = values.pin_memory()
        return values.to(self._device, non_blocking=True)

    def _tensors(self, batch: Any) -> Any:
        return _mapped(tensor_of, batch)

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator."""
        return len(self._batches)

    def __reduce__(self) -> Any:
        """Prevents pickling, by which a `DataLoader` sends datasets to its workers.

        Raises:
            UsageError: Always.
        """
        raise UsageError(_NO_WORKERS)


class ResumableTorchBatches(TorchBatches):
    """Batches of a `Stream`, with PyTorch's `state_dict` and `load_state_dict`.

    torchdata's `StatefulDataLoader`, Lightning and Accelerate call them.
    """

    def __iter__(self) -> Iterator[Any]:
        """Returns an iterator over batches.

        Raises:
            UsageError: The iterator runs in a worker of a `DataLoader`.
        """
        return ResumableIterator(super().__iter__(), self._batches)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state after the batches that were taken."""
        state: dict[str, Any] = self._batches.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes after a state: the next iterator begins there. `len` stays as it was.

        Args:
            state_dict: What `state_dict` or `reader.state` returned.

        Raises:
            UsageError: The state belongs to a run with another order.
        """
        self._batches.load_state_dict(state_dict)


def tensor_of(values: np.ndarray[Any, Any]) -> Any:
    """Returns a tensor on the memory of an array, or a list of `bytes`."""
    if values.dtype == object:
        return values.tolist()
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def _mapped(function: Any, batch: Any) -> Any:
    """Applies a function to the leaves of dictionaries and tuples."""
    if isinstance(batch, dict):
        return {name: _mapped(function, values) for name, values in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_mapped(function, values) for values in batch)
    return function(batch)
