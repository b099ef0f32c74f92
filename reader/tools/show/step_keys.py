"""Looks up the keys of the records that a training step reads."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.contract.checks import whole_number
from reader.contract.errors import DatasetError, UsageError
from reader.contract.schema import display_path
from reader.datasets.layers import Layers
from reader.datasets.open_sources import Patterns, open_one_record_source
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_source import RecordSource
from reader.records.random_access import RecordFiles
from reader.schedule.run import Run, plan_run
from reader.selections.choose import Selected, choose
from reader.shuffle.order import NO_RECORD
from reader.tools.added_values import added_values


class Place(NamedTuple):
    """A position in a batch.

    Attributes:
        number: Index of the record in write order; None for padding.
        key: Key of the record, as displayable text; None if the record is damaged or
            has no key.
        shard: Path of the shard that holds the record.
        problem: Description of damage to the record; None if the record is intact.
        added: Values of the layers, by the keys of their features.
    """

    number: int | None
    key: str | None = None
    shard: str | None = None
    problem: str | None = None
    added: Mapping[str, Any] = {}


class StepKeys(NamedTuple):
    """The records that a host reads in a step.

    Attributes:
        step: Step over all epochs, counted from 0.
        epoch: Epoch of the step, counted from 0.
        step_of_epoch: Step within the epoch, counted from 0.
        places: Positions of the host's share of the batch, in order.
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
    streams: int = defaults.STREAMS,
    host_index: int = defaults.HOST_INDEX,
    host_count: int = defaults.HOST_COUNT,
    remainder: str = defaults.REMAINDER,
    features: Mapping[str, str] | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
) -> StepKeys:
    """Returns the keys that `reader.load` delivers in a step.

    Reads only the keys of that step. The arguments are those of `reader.load`, without
    `bucket_by_length`.

    Args:
        pattern: Dataset folder or glob of TFRecords.
        step: Step over all epochs, counted from 0.
        batch_size: Number of examples per step, over all hosts.
        split: Name of the split; required if `pattern` is a folder with several.
        shuffle: Whether to shuffle the records.
        seed: Seed of the shuffle order.
        shuffle_bytes: Size of the shuffle window in encoded bytes, over all hosts.
        streams: Number of streams that the order takes records from in turn.
        host_index: Index of the host.
        host_count: Number of hosts that share each step.
        remainder: Handling of an incomplete last batch: `"drop"` or `"pad"`.
        features: Names of the features of foreign TFRecords, by role.
        select: Selection to read.
        where: Condition on the columns of `samples/`.
        layers: Layers whose values are returned too.

    Raises:
        UsageError: An argument is invalid, or the pattern is a mixture.
        DatasetError: The dataset is unfinished or incomplete.
    """
    if whole_number("step", step) < 0:
        raise UsageError(f"step must be at least 0, got {step}")
    config = ReadConfig(
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        shuffle_bytes=shuffle_bytes,
        streams=streams,
        host_index=host_index,
        host_count=host_count,
        remainder=remainder,
        start_step=step,
    )
    source = open_one_record_source(pattern, split, features, layers)
    source = choose(source, select, where)
    run = plan_run(source, config)
    stretch = next(iter(run.steps.stretches(0)))
    numbers = _numbers(run, config)
    files = RecordFiles(source)
    index = source.index()
    return StepKeys(
        step=step,
        epoch=stretch.epoch,
        step_of_epoch=stretch.start // batch_size,
        places=[_place(source, index, files, number) for number in numbers],
    )


def _numbers(run: Run, config: ReadConfig) -> list[int]:
    """Returns the numbers of the records in a host's first batch."""
    num = config.host_batch_size
    stretch = next(iter(run.steps.stretches(0)))
    numbers: list[int] = []
    for window in run.windows(config, at_end=lambda *_: None).of(stretch):
        numbers += window.numbers.tolist()
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
        record = files.read(number)
    except DatasetError as error:
        return Place(number, None, path, str(error))
    key, added, problem = files.key_in(record), {}, None
    try:
        added = added_values(record, source.layers)
    except ValueError as error:
        problem = str(files.unusable(number, record, error))
    shown = None if key is None else display_path(key)
    return Place(number, shown, path, problem, added)
