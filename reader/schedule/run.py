"""Plans the run of a configuration over record sources, without TensorFlow."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.layers import Layers
from reader.datasets.open_sources import Patterns, open_one_record_source
from reader.datasets.record_index import RecordIndex, ShardFile
from reader.datasets.record_source import RecordSource, index_of
from reader.range_cache.range_cache import RangeCache
from reader.schedule.state import (
    check_state,
    digest,
    fingerprint,
    identity_of,
    sorted_by,
)
from reader.schedule.windows import Windows
from reader.selections.choose import Selected, choose
from reader.shuffle.mixture import MixedOrder, Part, share_turns
from reader.shuffle.next_uses import NextUses, ShuffledUses, WrittenUses
from reader.shuffle.order import Numbering, ShuffledOrder, WrittenOrder
from reader.shuffle.shares import Share
from reader.shuffle.steps import EndlessSteps, Steps
from reader.shuffle.subset import (
    JoinedSubsets,
    KeptRecords,
    Subset,
    WeightedRecords,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """Plan of a run: the records to read, their order, and the range of steps.

    Attributes:
        index: Index of the records' files and byte offsets.
        order: Order of the records, in planned numbers if a subset is read.
        steps: Steps and epochs of the run.
        share: Share of this host in each step.
        identity: Settings and fingerprint that determine the order, for the state.
        subset: Record numbers of planned numbers; None to read all records.
        num_blocks: Number of blocks of each part of a mixture, or of all records.
    """

    index: RecordIndex
    order: ShuffledOrder | WrittenOrder | MixedOrder
    steps: Steps | EndlessSteps
    share: Share
    identity: Mapping[str, Any]
    subset: Subset | None = None
    num_blocks: tuple[int, ...] = ()

    def next_uses(self) -> NextUses:
        """Returns when the blocks of the index are needed next, for a cache."""
        if isinstance(self.order, MixedOrder):
            return self.order.next_uses(self.num_blocks, self.share)
        (num,) = self.num_blocks
        if isinstance(self.order, ShuffledOrder):
            return ShuffledUses(self.order, num, self.share, endless=False)
        numbering: Any = self.index.blocks if self.subset is None else self.subset
        return WrittenUses(self.order, numbering, num, self.share)

    def open_cache(self, config: ReadConfig) -> RangeCache | None:
        """Opens the bounded cache of ranges; returns None without one.

        Raises:
            UsageError: The folder cannot be used, or a file has no manifest.
        """
        folder, max_bytes = config.resources.cache, config.resources.cache_bytes
        if folder is None or max_bytes is None:
            return None
        name = json.dumps([self.identity, self.share.host_count], sort_keys=True)
        return RangeCache(folder, max_bytes, self.index, self.next_uses(), name)

    @property
    def num_examples(self) -> int:
        """Number of records to read, with the copies that weights ask for."""
        return (self.subset or self.index).num_records

    def moved(self, files: Sequence[ShardFile]) -> "Run":
        """Returns the same run over copies of the index's files at other paths."""
        return dataclasses.replace(self, index=self.index.moved(files))

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
            self.subset,
            whole=config.bucket_by_length,
            at_end=at_end,
            open_cache=lambda: self.open_cache(config),
        )


def steps_per_epoch(
    pattern: Patterns,
    *,
    batch_size: int,
    split: str | None = None,
    remainder: str = "drop",
    features: Mapping[str, str] | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
) -> int:
    """Returns the number of batches in an epoch on each host, for any number of hosts.

    The arguments are those of `reader.load`.

    Args:
        pattern: Shard glob, dataset folder, or list of these.
        batch_size: Examples per step, over all hosts.
        split: Split to read, if `pattern` is a folder with several splits.
        remainder: `"drop"` or `"pad"`.
        features: Feature keys of foreign TFRecords (from other tools), by name.
        select: Selection to read.
        where: Condition on the columns of `samples/`.
        layers: Layers whose columns the condition may name.

    Raises:
        UsageError: An argument is invalid, or the pattern is a mixture, which has no
            epochs.
        DatasetError: A dataset is unfinished or incomplete.
    """
    config = ReadConfig(batch_size=batch_size, remainder=remainder)
    source = open_one_record_source(pattern, split, features, layers)
    source = choose(source, select, where)
    return _steps(source, _numbering(source, source.index(), 0), config).per_epoch


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
    index = source.index()
    identity = identity_of(
        config, fingerprint(source.shards, ()), digest([source]), sorted_by([source])
    )
    numbering = _numbering(source, index, config.seed)
    steps = _steps(source, numbering, config)
    begin, begin_step = _begin(config, resume, identity, steps)
    return Run(
        index=index,
        order=_order(index, numbering, config),
        steps=dataclasses.replace(steps, begin=begin, begin_step=begin_step),
        share=Share(config.host_index, config.host_count, config.batch_size),
        identity=identity,
        subset=_subset(numbering),
        num_blocks=(_num_blocks(source),),
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
    numberings = _numberings(record_sources, config)
    turns = share_turns(weights)
    index = index_of(record_sources)
    counts = [len(source.shards) for source in record_sources]
    records = fingerprint(index.shards, counts)
    identity = identity_of(
        config, records, digest(record_sources), sorted_by(record_sources)
    )
    identity["weights"] = turns
    steps = EndlessSteps(batch_size=config.batch_size)
    begin, begin_step = _begin(config, resume, identity, steps)
    means = [source.num_bytes / source.num_examples for source in record_sources]
    mean = float(np.average(means, weights=turns))
    num_examples = sum(numbering.num_records for numbering in numberings)
    rounds = max(1, int(config.shuffle_bytes / mean / config.streams))
    rounds = min(rounds, num_examples // config.streams + 1)
    return Run(
        index=index,
        order=MixedOrder(_parts(numberings, config, rounds), turns, rounds),
        steps=dataclasses.replace(steps, begin=begin, begin_step=begin_step),
        share=Share(config.host_index, config.host_count, config.batch_size),
        identity=identity,
        subset=_joined(record_sources, numberings),
        num_blocks=tuple(map(_num_blocks, record_sources)),
    )


def _numbering(source: RecordSource, index: RecordIndex, seed: int | str) -> Numbering:
    """Returns the numbering of the records to read; checks that there is one."""
    if not source.num_examples:
        raise UsageError(f"{source.name} holds no examples: leave it out")
    if source.chosen is None:
        return index.blocks
    subset = source.chosen.subset(index.blocks, seed)
    if not subset.num_records:
        raise UsageError(
            f"no example of {source.name} is selected: choose more, or leave it out"
        )
    return subset


def _num_blocks(source: RecordSource) -> int:
    return len(source.block_offsets)


def _subset(numbering: Numbering) -> Subset | None:
    return numbering if isinstance(numbering, KeptRecords | WeightedRecords) else None


def _steps(source: RecordSource, numbering: Numbering, config: ReadConfig) -> Steps:
    num_examples = numbering.num_records
    if num_examples < config.batch_size and config.remainder == "drop":
        selected = "" if source.chosen is None else "selected "
        raise UsageError(
            f"batch_size must be at most the number of {selected}examples, got "
            f"{config.batch_size} and {num_examples}: lower it, or pass "
            'remainder="pad"'
        )
    return Steps(
        num_examples=num_examples,
        batch_size=config.batch_size,
        pad=config.remainder == "pad",
        epochs=config.epochs,
    )


def _part_seed(config: ReadConfig, position: int) -> str:
    """Returns the seed of a part, since the same dataset may be two parts."""
    return f"{config.seed}/{position}"


def _numberings(
    record_sources: Sequence[RecordSource], config: ReadConfig
) -> list[Numbering]:
    return [
        _numbering(
            source,
            source.index(),
            _part_seed(config, position),
        )
        for position, source in enumerate(record_sources)
    ]


def _joined(
    record_sources: Sequence[RecordSource], numberings: Sequence[Numbering]
) -> Subset | None:
    subsets = list(map(_subset, numberings))
    if not any(subsets):
        return None
    nums = [source.num_examples for source in record_sources]
    return JoinedSubsets(list(zip(subsets, nums, strict=True)))


def _parts(
    numberings: Sequence[Numbering], config: ReadConfig, rounds: int
) -> list[Part]:
    parts, begin = [], 0
    for position, numbering in enumerate(numberings):
        seed = _part_seed(config, position)
        order = ShuffledOrder(numbering, seed, rounds, config.streams)
        parts.append(Part(order, begin))
        begin += numbering.num_records
    return parts


def _order(
    index: RecordIndex, numbering: Numbering, config: ReadConfig
) -> ShuffledOrder | WrittenOrder:
    mean = max(1, index.num_bytes // index.num_records)
    window = max(1, config.shuffle_bytes // mean)
    if not config.shuffle:
        batches = max(1, window // config.batch_size)
        return WrittenOrder(numbering.num_records, config.batch_size, batches)
    num = config.streams
    rounds = min(max(1, window // num), numbering.num_records // num + 1)
    return ShuffledOrder(numbering, config.seed, rounds, num)


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
