"""Is each record read once in an epoch, by one host? The plan, walked to its end."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.checks import whole_number
from reader.contract.errors import UsageError
from reader.datasets.record_source import Patterns, open_one_record_source
from reader.schedule.run import Run, plan_run
from reader.shuffle.arrays import Int64s
from reader.shuffle.order import NO_RECORD, Share


class Coverage(NamedTuple):
    """What all hosts together read in an epoch.

    Attributes:
        num_examples: Records there are.
        num_once: Records that are read once.
        num_never: Records that are not read.
        num_repeated: Records that are read more than once; there should be none.
        num_fills: Places of a batch that are filled up.
        num_left_over: How many of those make no whole batch: none with `pad`.
        steps: Batches of each host, which must be equal.
    """

    num_examples: int
    num_once: int
    num_never: int
    num_repeated: int
    num_fills: int
    num_left_over: int
    steps: tuple[int, ...]

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each."""
        problems = []
        if self.num_repeated:
            problems.append(f"{self.num_repeated} records are read more than once")
        missing = self.num_never - self.num_left_over
        if missing:
            problems.append(f"{missing} records are not read")
        if len(set(self.steps)) > 1:
            problems.append(f"hosts have different numbers of batches: {self.steps}")
        return problems


def coverage(
    pattern: Patterns,
    *,
    batch_size: int,
    host_count: int = defaults.HOST_COUNT,
    epoch: int = 0,
    split: str | None = None,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    remainder: str = defaults.REMAINDER,
    features: Mapping[str, str] | None = None,
) -> Coverage:
    """Walks the plan of an epoch over all hosts, and counts how often records come.

    No record is read. The arguments are those of `reader.load`.

    Args:
        pattern: What to read.
        batch_size: Examples per step, over all hosts.
        host_count: How many hosts share each step.
        epoch: Which epoch, from 0.
        split: Which split, where `pattern` is a folder that holds several.
        shuffle: Whether the order is shuffled.
        seed: Of the order.
        shuffle_bytes: Shuffled at a time, in encoded bytes, over all hosts.
        remainder: `"drop"` or `"pad"`.
        features: For TFRecords that others wrote.

    Raises:
        UsageError: An argument is wrong, or the pattern is a mixture, which has no
            epochs.
        DatasetError: A dataset is unfinished or not whole.
    """
    if whole_number("epoch", epoch) < 0:
        raise UsageError(f"epoch must be at least 0, got {epoch}")
    config = ReadConfig(
        batch_size=batch_size,
        host_count=host_count,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        remainder=remainder,
        epochs=epoch + 1,
    )
    run = plan_run(open_one_record_source(pattern, split, features), config)
    counts, fills, places = _walk(run, host_count)
    return Coverage(
        num_examples=len(counts),
        num_once=int(np.count_nonzero(counts == 1)),
        num_never=int(np.count_nonzero(counts == 0)),
        num_repeated=int(np.count_nonzero(counts > 1)),
        num_fills=fills,
        num_left_over=0 if remainder == "pad" else len(counts) % config.batch_size,
        steps=tuple(num // config.host_batch_size for num in places),
    )


def _walk(run: Run, host_count: int) -> tuple[Int64s, int, list[int]]:
    """Returns how often each record comes, how many fills, and each host's places."""
    *_, stretch = run.steps.stretches(0)
    counts = np.zeros(run.index.num_records, np.int64)
    fills, places = 0, [0] * host_count
    for host in range(host_count):
        for window in run.order.windows(stretch, Share(host, host_count)):
            numbers = window.cut().numbers
            there = numbers[numbers != NO_RECORD]
            np.add.at(counts, there, 1)
            fills += len(numbers) - len(there)
            places[host] += len(numbers)
    return counts, fills, places
