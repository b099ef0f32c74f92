"""Checks that the hosts together read each record exactly once in an epoch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.checks import whole_number
from reader.contract.errors import UsageError
from reader.datasets.layers import Layers
from reader.datasets.open_sources import Patterns, open_one_record_source
from reader.schedule.run import Run, plan_run
from reader.selections.choose import Selected, choose
from reader.shuffle.arrays import Int64s
from reader.shuffle.order import NO_RECORD
from reader.shuffle.shares import Share


class Coverage(NamedTuple):
    """Counts of the records that all hosts together read in an epoch.

    Attributes:
        num_examples: Number of records.
        num_once: Number of records read exactly once.
        num_never: Number of records not read.
        num_repeated: Number of records read more than once; 0 in a correct plan.
        num_fills: Number of padding examples in the batches.
        num_left_over: Number of records dropped because they do not fill a batch; 0
            with `remainder="pad"`.
        steps: Number of batches of each host; equal in a correct plan.
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
        """Problems of the plan, one line each; empty if the plan is correct."""
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
    streams: int = defaults.STREAMS,
    remainder: str = defaults.REMAINDER,
    features: Mapping[str, str] | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
) -> Coverage:
    """Counts how often the plan of an epoch reads each record, over all hosts.

    Follows the plan without reading records. The arguments are those of `reader.load`.

    Args:
        pattern: Shard glob, dataset folder, or list of these.
        batch_size: Examples per step, over all hosts.
        host_count: Number of hosts that share each step.
        epoch: Index of the epoch, from 0.
        split: Split to read, if `pattern` is a folder with several splits.
        shuffle: Whether the order is shuffled.
        seed: Seed of the shuffle order.
        shuffle_bytes: Size of the shuffle window in encoded bytes, over all hosts.
        streams: Number of streams that the order takes records from in turn.
        remainder: `"drop"` or `"pad"`.
        features: Feature keys of foreign TFRecords (from other tools), by name.
        select: Selection to read. Its records are counted, and each copy of a record
            that a weight asks for.
        where: Condition on the columns of `samples/`.
        layers: Layers whose columns the condition may name.

    Raises:
        UsageError: An argument is invalid, or the pattern is a mixture, which has no
            epochs.
        DatasetError: A dataset is unfinished or incomplete.
    """
    if whole_number("epoch", epoch) < 0:
        raise UsageError(f"epoch must be at least 0, got {epoch}")
    config = ReadConfig(
        batch_size=batch_size,
        host_count=host_count,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        streams=streams,
        remainder=remainder,
        epochs=epoch + 1,
    )
    source = open_one_record_source(pattern, split, features, layers)
    run = plan_run(choose(source, select, where), config)
    counts, fills, sizes = _walk(run, config)
    return Coverage(
        num_examples=len(counts),
        num_once=int(np.count_nonzero(counts == 1)),
        num_never=int(np.count_nonzero(counts == 0)),
        num_repeated=int(np.count_nonzero(counts > 1)),
        num_fills=fills,
        num_left_over=0 if remainder == "pad" else len(counts) % config.batch_size,
        steps=tuple(num // config.host_batch_size for num in sizes),
    )


def _walk(run: Run, config: ReadConfig) -> tuple[Int64s, int, list[int]]:
    """Returns reads per record, number of fills, and number of examples per host."""
    *_, stretch = run.steps.stretches(0)
    counts = np.zeros(run.num_examples, np.int64)
    fills, sizes = 0, [0] * config.host_count
    for host in range(config.host_count):
        share = Share(host, config.host_count, config.batch_size)
        for window in run.order.windows(stretch, share):
            numbers = window.cut().numbers
            records = numbers[numbers != NO_RECORD]
            np.add.at(counts, records, 1)
            fills += len(numbers) - len(records)
            sizes[host] += len(numbers)
    return counts, fills, sizes
