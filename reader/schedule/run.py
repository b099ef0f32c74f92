"""Plans the run of a configuration over record sources, without TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.record_index import RecordIndex, ShardFile
from reader.datasets.record_source import Patterns, RecordSource, open_one_record_source
from reader.schedule.state import check_state, fingerprint, identity_of
from reader.schedule.windows import Windows
from reader.shuffle.mixture import MixedOrder, Part, share_turns
from reader.shuffle.order import ShuffledOrder, WrittenOrder
from reader.shuffle.shares import Share
from reader.shuffle.steps import EndlessSteps, Steps


@dataclasses.dataclass(frozen=True)
class Run:
    """Plan of a run: the records to read, their order, and the range of steps.

    Attributes:
        index: Index of the records' files and byte offsets.
        order: Order of the records.
        steps: Steps and epochs of the run.
        share: Share of this host in each step.
        identity: Settings and fingerprint that determine the order, for the state.
    """

    index: RecordIndex
    order: ShuffledOrder | WrittenOrder | MixedOrder
    steps: Steps | EndlessSteps
    share: Share
    identity: Mapping[str, Any]

    def moved(self, shards: Sequence[ShardFile]) -> "Run":
        """Returns the same run over copies of the shards at other paths."""
        return dataclasses.replace(self, index=self.index.moved(shards))

    def windows(self, config: ReadConfig, at_end: Any) -> Windows:
        """Returns the windows that this host reads, for each iterator.

        Args:
            config: Configuration of the run.
            at_end: Function called at the end of each epoch, as of `Windows`.
        """
        return Windows(
            self.order,
            self.steps,
            self.share,
            self.index,
            config.draws,
            whole=config.bucket_by_length,
            at_end=at_end,
        )


def steps_per_epoch(
    pattern: Patterns,
    *,
    batch_size: int,
    split: str | None = None,
    remainder: str = "drop",
    features: Mapping[str, str] | None = None,
) -> int:
    """Returns the number of batches in an epoch on each host, for any number of hosts.

    The arguments are those of `reader.load`.

    Args:
        pattern: Shard glob, dataset folder, or list of these.
        batch_size: Examples per step, over all hosts.
        split: Split to read, if `pattern` is a folder with several splits.
        remainder: `"drop"` or `"pad"`.
        features: Feature keys of foreign TFRecords (from other tools), by name.

    Raises:
        UsageError: An argument is invalid, or the pattern is a mixture, which has no
            epochs.
        DatasetError: A dataset is unfinished or incomplete.
    """
    config = ReadConfig(batch_size=batch_size, remainder=remainder)
    return _steps(open_one_record_source(pattern, split, features), config).per_epoch


def plan_run(source: RecordSource, config: ReadConfig, resume: object = None) -> Run:
    """Returns the run over one record source.

    Args:
        source: Records to read.
        config: Configuration of the run.
        resume: State to resume from, as returned by `reader.state`, or its JSON.

    Raises:
        UsageError: The source is smaller than a batch, or the state belongs to a run
            with another order.
    """
    index = RecordIndex(source.shards, source.block_offsets)
    identity = identity_of(config, fingerprint(source.shards, ()))
    steps = _steps(source, config)
    begin, begin_step = _begin(config, resume, identity, steps)
    return Run(
        index=index,
        order=_order(index, config),
        steps=dataclasses.replace(steps, begin=begin, begin_step=begin_step),
        share=Share(config.host_index, config.host_count, config.batch_size),
        identity=identity,
    )


def plan_mixed_run(
    record_sources: Sequence[RecordSource],
    weights: Sequence[float],
    config: ReadConfig,
    resume: object = None,
) -> Run:
    """Returns the endless run over a weighted mixture of record sources.

    Args:
        record_sources: Parts of the mixture.
        weights: Weight of each part.
        config: Configuration of the run.
        resume: State to resume from, as returned by `reader.state`, or its JSON.

    Raises:
        UsageError: A setting needs a run that ends, a part is empty, or the state
            belongs to a run with another order.
    """
    _check_endless(config)
    for source in record_sources:
        _check_not_empty(source)
    turns = share_turns(weights)
    shards = [shard for source in record_sources for shard in source.shards]
    offsets = np.concatenate([source.block_offsets for source in record_sources])
    counts = [len(source.shards) for source in record_sources]
    identity = identity_of(config, fingerprint(shards, counts))
    identity["weights"] = turns
    steps = EndlessSteps(batch_size=config.batch_size)
    begin, begin_step = _begin(config, resume, identity, steps)
    means = [source.num_bytes / source.num_examples for source in record_sources]
    mean = float(np.average(means, weights=turns))
    num_examples = sum(source.num_examples for source in record_sources)
    rounds = max(1, int(config.shuffle_bytes / mean / config.streams))
    rounds = min(rounds, num_examples // config.streams + 1)
    return Run(
        index=RecordIndex(shards, offsets),
        order=MixedOrder(_parts(record_sources, config, rounds), turns, rounds),
        steps=dataclasses.replace(steps, begin=begin, begin_step=begin_step),
        share=Share(config.host_index, config.host_count, config.batch_size),
        identity=identity,
    )


def _steps(source: RecordSource, config: ReadConfig) -> Steps:
    _check_not_empty(source)
    if source.num_examples < config.batch_size and config.remainder == "drop":
        raise UsageError(
            "batch_size must be at most the number of examples, got "
            f"{config.batch_size} and {source.num_examples}: lower it, or pass "
            'remainder="pad"'
        )
    return Steps(
        num_examples=source.num_examples,
        batch_size=config.batch_size,
        pad=config.remainder == "pad",
        epochs=config.epochs,
    )


def _check_not_empty(source: RecordSource) -> None:
    if not source.num_examples:
        raise UsageError(f"{source.name} holds no examples: leave it out")


def _parts(
    record_sources: Sequence[RecordSource], config: ReadConfig, rounds: int
) -> list[Part]:
    parts, begin = [], 0
    for position, source in enumerate(record_sources):
        blocks = RecordIndex(source.shards, source.block_offsets).blocks
        # The same dataset may be two parts: give each part its own order.
        order = ShuffledOrder(
            blocks, f"{config.seed}/{position}", rounds, config.streams
        )
        parts.append(Part(order, begin))
        begin += source.num_examples
    return parts


def _order(index: RecordIndex, config: ReadConfig) -> ShuffledOrder | WrittenOrder:
    mean = max(1, index.num_bytes // index.num_records)
    window = max(1, config.shuffle_bytes // mean)
    if not config.shuffle:
        batches = max(1, window // config.batch_size)
        return WrittenOrder(index.num_records, config.batch_size, batches)
    num = config.streams
    rounds = min(max(1, window // num), index.num_records // num + 1)
    return ShuffledOrder(index.blocks, config.seed, rounds, num)


def _begin(
    config: ReadConfig,
    resume: object,
    identity: Mapping[str, Any],
    steps: Steps | EndlessSteps,
) -> tuple[int, int]:
    """Returns the first example and the index of the first step."""
    if resume is not None:
        if config.start_step or config.start_example is not None:
            raise UsageError(
                "resume sets the start of the run: leave out start_step and "
                "start_example"
            )
        return check_state(resume, identity)
    if config.start_example is not None:
        return config.start_example, 0
    return steps.example_at(config.start_step), config.start_step


def _check_endless(config: ReadConfig) -> None:
    if config.epochs is not None:
        raise UsageError(
            "weights make an endless mixture: pass epochs=None and count steps, got "
            f"epochs={config.epochs}"
        )
    if config.remainder == "pad":
        raise UsageError(
            'remainder="pad" pads the last batch, and a mixture is endless: leave it '
            "out"
        )
    if not config.shuffle:
        raise UsageError(
            "weights make a mixture, which is always shuffled: leave out shuffle=False"
        )
