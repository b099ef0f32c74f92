"""START HERE for selections: the arguments `select` and `where` → chosen records."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from reader.contract.additions.base_shard import BaseShard, base_of
from reader.contract.additions.selection import WEIGHT_ONE
from reader.contract.checks import did_you_mean
from reader.contract.errors import UsageError
from reader.contract.layout import SELECTIONS_DIR
from reader.datasets.manifest_dataset import ManifestDataset
from reader.datasets.record_index import ShardFile
from reader.datasets.record_source import RecordSource
from reader.selections.columns import keep_where
from reader.selections.selection import (
    Selection,
    mismatch,
    open_selection,
    selections_of,
)
from reader.shuffle.arrays import UInt64s
from reader.shuffle.subset import Chosen, every, pack, unpack
from reader.storage.files import Pattern, is_folder, local_path

Selected = Pattern | Sequence[Pattern] | None


def choose(source: RecordSource, select: Selected, where: str | None) -> RecordSource:
    """Returns a source with the chosen records; the arguments are of `choose_all`."""
    (chosen,) = choose_all([source], select, where)
    return chosen


def choose_all(
    sources: Sequence[RecordSource], select: Selected, where: str | None
) -> list[RecordSource]:
    """Returns sources of which only chosen records are read.

    Args:
        sources: Records to choose of; several for a mixture.
        select: Path of a selection, its name in a dataset's `selections/`, or a list of
            these. Each selection is matched with the dataset that it was made of.
            Datasets without a selection are read as a whole.
        where: Condition on the columns of `samples/` that records have to meet as well.

    Raises:
        DatasetError: A selection is incomplete or damaged, or so are `samples/`.
        UsageError: A selection belongs to none of the datasets, a dataset has several,
            or `where` is not a condition on the columns of all datasets.
    """
    if select is None and where is None:
        return list(sources)
    for source in sources:
        if source.compression:
            raise UsageError(f"{source.name} is compressed: nothing can be selected")
    selections = list(_opened(select, sources))
    _check_matches(selections, sources)
    return [_chosen(source, selections, where) for source in sources]


def _opened(select: Selected, sources: Sequence[RecordSource]) -> Iterator[Selection]:
    if select is None:
        return
    names = list(select) if isinstance(select, (list, tuple)) else [select]
    if not names:
        raise UsageError("select must not be an empty list")
    for name in names:
        if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
            raise UsageError(f"select must be a path or a name, got {name!r}")
        for path in _paths(local_path(name), sources):
            yield open_selection(path)


def _paths(name: str, sources: Sequence[RecordSource]) -> list[str]:
    """Returns the folders of a selection, given by its path or name.

    A selection of a dataset comes before a folder of that name beside the caller.
    """
    if "/" in name:
        return [name]
    folders = {
        os.path.dirname(shard.path): None
        for source in sources
        for shard in source.shards
    }
    inside = [os.path.join(folder, SELECTIONS_DIR, name) for folder in folders]
    found = [path for path in inside if is_folder(path)]
    if not found and is_folder(name):
        return [name]
    if not found:
        raise UsageError(
            f"there is no selection {name}: neither {name} nor "
            f"{' nor '.join(inside)} is a folder"
        )
    return found


def opened_for(dataset: ManifestDataset, name: str) -> Selection:
    """Opens a selection of a whole dataset, by its path or name.

    Raises:
        DatasetError: The selection is incomplete or damaged.
        UsageError: It does not exist, or is one of another dataset.
    """
    path = local_path(name)
    inside = dataset.path(os.path.join(SELECTIONS_DIR, name))
    if "/" not in name and is_folder(inside):
        path = inside
    if not is_folder(path):
        names = [os.path.basename(each) for each in selections_of(dataset)]
        hint = did_you_mean(
            name,
            names,
            otherwise=f"{dataset.folder}/{SELECTIONS_DIR} has "
            f"{', '.join(names[:9]) or 'none'}",
        )
        raise UsageError(f"there is no selection {name}: {hint}")
    selection = open_selection(path)
    problem = mismatch(selection, [list(map(base_of, dataset.manifest.shards))])
    if problem is not None:
        raise UsageError(problem)
    return selection


def _base_shard(shard: ShardFile) -> BaseShard:
    file = os.path.basename(shard.path)
    return BaseShard(file, shard.num_examples, shard.checksum)


def _datasets(source: RecordSource) -> Iterator[list[BaseShard]]:
    """Yields the shards of each dataset of a source."""
    for _, shards in itertools.groupby(
        source.shards, lambda shard: os.path.dirname(shard.path)
    ):
        yield list(map(_base_shard, shards))


def _check_matches(
    selections: Iterable[Selection], sources: Sequence[RecordSource]
) -> None:
    datasets = [shards for source in sources for shards in _datasets(source)]
    for selection in selections:
        problem = mismatch(selection, datasets)
        if problem is not None:
            raise UsageError(problem)


def _chosen(
    source: RecordSource, selections: Sequence[Selection], where: str | None
) -> RecordSource:
    parts = [_of_dataset(shards, selections) for shards in _datasets(source)]
    chosen = _joined(parts, list(_datasets(source)))
    if where is not None:
        counts = [shard.num_examples for shard in source.shards]
        chosen = _narrowed(chosen, pack(keep_where(source, where), counts), source)
    everything = chosen.weights is None and chosen.num_records == source.num_examples
    return dataclasses.replace(source, chosen=None if everything else chosen)


def _of_dataset(
    shards: Sequence[BaseShard], selections: Sequence[Selection]
) -> Chosen | None:
    matching = [s for s in selections if {*shards} <= {*s.manifest.base}]
    if len(matching) > 1:
        raise UsageError(
            f"{matching[0].path} and {matching[1].path} are selections of the same "
            "dataset: combine them with diptych select --and"
        )
    return matching[0].of(shards) if matching else None


def _joined(
    parts: Sequence[Chosen | None], datasets: Sequence[Sequence[BaseShard]]
) -> Chosen:
    """Returns the choice of several datasets, all records of those without one."""
    words: list[UInt64s] = []
    weights = []
    weighted = any(part is not None and part.weights is not None for part in parts)
    for part, shards in zip(parts, datasets, strict=True):
        counts = [shard.num_examples for shard in shards]
        words.append(every(counts) if part is None else part.words)
        if part is not None and part.weights is not None:
            weights.append(part.weights)
        elif weighted:
            kept = unpack(words[-1], counts)
            weights.append(kept.astype(np.uint16) * np.uint16(WEIGHT_ONE))
    joined = np.concatenate(words) if len(words) > 1 else words[0]
    if not weighted:
        return Chosen(joined)
    return Chosen(joined, np.concatenate(weights) if len(weights) > 1 else weights[0])


def _narrowed(chosen: Chosen, words: UInt64s, source: RecordSource) -> Chosen:
    """Returns the choice of those records that are in `words` as well."""
    both = chosen.words & words
    if chosen.weights is None:
        return Chosen(both)
    counts = [shard.num_examples for shard in source.shards]
    return Chosen(both, np.where(unpack(both, counts), chosen.weights, np.uint16(0)))
