"""Implements `reader.sampler`: the planned order for examples of `reader.open`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.map_dataset.map_dataset import MapDataset
from reader.schedule.resumable import Resumable, ResumableIterator
from reader.schedule.run import Run, plan_run
from reader.shuffle.order import NO_RECORD


class PlannedNumber(int):
    """Record number, as an index of a `MapDataset`.

    Attributes:
        epoch: Epoch of the example, which random crops and flips depend on.
    """

    epoch: int

    def __new__(cls, number: int, epoch: int = 0) -> "PlannedNumber":
        """Creates the number."""
        created = super().__new__(cls, number)
        created.epoch = epoch
        return created

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the number, as a `DataLoader` does for its workers."""
        return PlannedNumber, (int(self), self.epoch)


def sampler(
    dataset: MapDataset,
    *,
    batch_size: int,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    streams: int = defaults.STREAMS,
    epochs: int | None = defaults.EPOCHS,
    start_step: int = defaults.START_STEP,
    resume: object = None,
    host_index: int = defaults.HOST_INDEX,
    host_count: int = defaults.HOST_COUNT,
    remainder: str = defaults.REMAINDER,
) -> "PlannedSampler":
    """Returns a batch sampler with the order of `load` for examples of `open`.

        dataset = reader.open("out", split="train", transform=augment)
        batches = reader.sampler(dataset, batch_size=256)
        loader = DataLoader(dataset, batch_sampler=batches, num_workers=8)

    The examples of a step are those of `load` and `stream` with the same arguments, on
    any number of hosts, with any number of workers, and after resuming. So are random
    crops and flips, which follow the epoch of each example without `set_epoch`.

    Args:
        dataset: What `open` returned. `seed` should be that of `open`.
        batch_size: Number of examples per step, over all hosts.
        shuffle: As in `load`.
        seed: As in `load`.
        shuffle_bytes: As in `load`.
        streams: As in `load`.
        epochs: As in `load`.
        start_step: As in `load`.
        resume: State from `reader.state` to resume from, also of `load` or `stream`.
        host_index: As in `load`.
        host_count: As in `load`.
        remainder: `"drop"` or `"pad"`, as in `load`. With `"pad"`, the last batch of an
            epoch has fewer examples, and may have none.

    Returns:
        A sampler of batches, whose `len` is the number of batches.

    Raises:
        UsageError: An argument is invalid, or the state is one of a run with another
            order.
    """
    if not isinstance(dataset, MapDataset):
        raise UsageError(
            f"sampler needs what reader.open returned, got {type(dataset).__name__}"
        )
    config = ReadConfig(
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        streams=streams,
        epochs=epochs,
        start_step=start_step,
        host_index=host_index,
        host_count=host_count,
        remainder=remainder,
        outputs=("key",),
    )
    return PlannedSampler(dataset, config, plan_run(dataset.source, config, resume))


class PlannedSampler(Resumable):
    """Iterable of batches of record numbers. Each new iterator is the next epoch.

    A `DataLoader` with workers asks for batches ahead of their use, and `state_dict`
    counts these. Use torchdata's `StatefulDataLoader` instead, whose own `state_dict`
    keeps the state of each batch until it is yielded, or `reader.state(sampler, step)`
    with the steps trained.
    """

    def __init__(self, dataset: MapDataset, config: ReadConfig, run: Run) -> None:
        """Creates the sampler; use `reader.sampler` instead.

        Args:
            dataset: Dataset that the numbers are of.
            config: Read configuration.
            run: Plan of the run.
        """
        self._dataset, self._config = dataset, config
        self._begin(run)

    def _begin(self, run: Run) -> None:
        windows = run.windows(self._config, at_end=lambda *_: None)
        self._set_run(run.steps, run.identity, windows)

    def __iter__(self) -> Iterator[list[PlannedNumber]]:
        """Returns an iterator over batches. The next epoch begins with its first batch.

        A `DataLoader` with workers makes two iterators, and uses one.
        """
        return ResumableIterator(self._batches(), self)

    def _batches(self) -> Iterator[list[PlannedNumber]]:
        size, held = self._config.host_batch_size, np.empty((2, 0), np.int64)
        parts = self._windows.numbers()
        iterator = self.latest
        for part in parts:
            held = np.concatenate([held, part], axis=1)
            while held.shape[1] >= size:
                (numbers, epochs), held = held[:, :size], held[:, size:]
                self.note_taken(iterator, 1)
                there = numbers != NO_RECORD
                indices = self._dataset.indices_of(numbers[there])
                yield list(map(PlannedNumber, indices.tolist(), epochs[there].tolist()))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resumes after a state: the next iterator begins there.

        Args:
            state_dict: What `state_dict` or `reader.state` returned.

        Raises:
            UsageError: The state is one of a run with another order.
        """
        self._begin(plan_run(self._dataset.source, self._config, state_dict))
