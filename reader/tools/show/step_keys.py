"""Which records a step holds: the plan, asked for one batch."""

from collections.abc import Mapping
from typing import NamedTuple

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.checks import whole_number
from reader.contract.errors import DatasetError, UsageError
from reader.contract.schema import display_path
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_source import Patterns, RecordSource, open_one_record_source
from reader.records.random_access import RecordFiles
from reader.schedule.run import Run, plan_run
from reader.shuffle.order import NO_RECORD


class Place(NamedTuple):
    """A place in a batch.

    Attributes:
        number: Of the record, in the order written; None where the batch is filled up.
        key: Of the record, as it is shown; None if it has none, or is damaged.
        shard: The record's file.
        problem: What is wrong with the record; None for nothing.
    """

    number: int | None
    key: str | None = None
    shard: str | None = None
    problem: str | None = None


class StepKeys(NamedTuple):
    """What a host reads in a step.

    Attributes:
        step: Counted from 0, over all epochs.
        epoch: Counted from 0.
        step_of_epoch: Counted from 0.
        places: Of the host's share of the batch, in order.
    """

    step: int
    epoch: int
    step_of_epoch: int
    places: list[Place]


def step_keys(
    pattern: Patterns,
    step: int,
    *,
    batch_size: int,
    split: str | None = None,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    host_index: int = defaults.HOST_INDEX,
    host_count: int = defaults.HOST_COUNT,
    remainder: str = defaults.REMAINDER,
    features: Mapping[str, str] | None = None,
) -> StepKeys:
    """Returns what `reader.load` delivers in a step; reads no other records.

    The arguments are those of `reader.load`, without `bucket_by_length`.

    Args:
        pattern: What to read.
        step: Which step, from 0, over all epochs.
        batch_size: Examples per step, over all hosts.
        split: Which split, where `pattern` is a folder that holds several.
        shuffle: Whether the order is shuffled.
        seed: Of the order.
        shuffle_bytes: How much is shuffled at a time.
        host_index: Whose share.
        host_count: How many hosts share each step.
        remainder: `"drop"` or `"pad"`.
        features: For TFRecords that others wrote.

    Raises:
        UsageError: An argument is wrong, or the pattern is a mixture.
        DatasetError: A dataset is unfinished or not whole.
    """
    if whole_number("step", step) < 0:
        raise UsageError(f"step must be at least 0, got {step}")
    config = ReadConfig(
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        host_index=host_index,
        host_count=host_count,
        remainder=remainder,
        start_step=step,
    )
    source = open_one_record_source(pattern, split, features)
    run = plan_run(source, config)
    stretch = next(iter(run.steps.stretches(0)))
    numbers = _numbers(run, config.host_batch_size)
    files = RecordFiles(source)
    index = RecordIndex(source.shards, source.block_offsets)
    return StepKeys(
        step=step,
        epoch=stretch.epoch,
        step_of_epoch=stretch.start // batch_size,
        places=[_place(source, index, files, number) for number in numbers],
    )


def _numbers(run: Run, num: int) -> list[int]:
    """Returns the numbers of the first records that a host reads."""
    stretch = next(iter(run.steps.stretches(0)))
    numbers: list[int] = []
    for window in run.order.windows(stretch, run.share):
        numbers += window.cut().numbers.tolist()
        if len(numbers) >= num:
            break
    return numbers[:num]


def _place(
    source: RecordSource, index: RecordIndex, files: RecordFiles, number: int
) -> Place:
    if number == NO_RECORD:
        return Place(None)
    path = source.shards[index.locate(number)[0]].path
    try:
        key = files.key(number)
    except DatasetError as error:
        return Place(number, None, path, str(error))
    return Place(number, None if key is None else display_path(key), path)
