"""Checks the layers of a dataset, byte for byte."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reader.contract.additions.layer import LAYER
from reader.contract.layout import parse_shard_name
from reader.contract.schema import display_path
from reader.datasets.layers import Layer, ListedLayer
from reader.records.damaged_records import sample_keys
from reader.tools.verify.file_check import check_files, check_rejects
from reader.tools.verify.problems import Problem, Remedy
from reader.tools.verify.processes import checked_shards
from reader.tools.verify.shard_check import ShardReport, ShardTask
from reader.tools.verify.statistics_check import wrong_statistics

# What repairs a layer instead of the dataset.
_REMEDIES: dict[Remedy, Remedy] = {"repair": "layer", "overwrite": "new_layer"}


def check_layers(
    layers: Iterable[ListedLayer], workers: int, keys: Mapping[str, Sequence[bytes]]
) -> Iterator[Problem]:
    """Yields the problems of layers, of which each is in the folder of its dataset.

    Args:
        layers: Layers of the dataset.
        workers: Number of processes that share the shards.
        keys: Keys of the valid records of each shard of the dataset.
    """
    for listed in layers:
        if listed.layer is None:
            what = (listed.problem or "").removeprefix(listed.path).lstrip(" /:")
            yield Problem(listed.path, what, remedy="new_layer")
            continue
        for problem in _problems(listed.layer, workers, keys):
            remedy = _REMEDIES.get(problem.remedy, problem.remedy)
            yield problem._replace(remedy=remedy)


def _problems(
    layer: Layer, workers: int, keys: Mapping[str, Sequence[bytes]]
) -> Iterator[Problem]:
    manifest, folder = layer.manifest, layer.indexed
    with checked_shards(_tasks(layer), workers) as checked:
        reports = list(checked)
    for report in reports:
        yield from report.problems
    flaws = list(check_files(folder, LAYER, manifest.tokenizer))
    yield from flaws
    if not flaws:
        yield from _wrong_keys(layer, keys)
    for what in _contradictions(layer, reports):
        yield Problem(folder.path(LAYER), what, remedy="overwrite")
    yield from check_rejects(folder, manifest.accounting.not_written)


def _wrong_keys(layer: Layer, keys: Mapping[str, Sequence[bytes]]) -> Iterator[Problem]:
    """Yields tables whose keys are not those of the dataset's records, in order."""
    for shard in layer.manifest.shards:
        name, of_base = parse_shard_name(shard.file), keys.get(shard.file, ())
        if name is None or len(of_base) != shard.num_examples:
            continue  # A damaged shard of the dataset has a problem of its own.
        found = sample_keys(layer.indexed.path(shard.file))
        if found and list(found) != list(map(display_path, of_base)):
            what = "its keys are not those of the dataset's records"
            path = layer.indexed.path(name.samples_file)
            yield Problem(path, what, remedy="overwrite")


def _tasks(layer: Layer) -> list[ShardTask]:
    manifest, tokenizer = layer.manifest, layer.manifest.tokenizer
    names = [parse_shard_name(shard.file) for shard in manifest.shards]
    return [
        ShardTask(
            folder=layer.path,
            shard=shard,
            features=manifest.features,
            image_format="",
            unknown_id=None if tokenizer is None else tokenizer.unknown_id,
            index_crc32c=None if name is None else manifest.files.get(name.index_file),
            decode=0,
            layer=layer.name,
        )
        for shard, name in zip(manifest.shards, names, strict=True)
    ]


def _contradictions(layer: Layer, reports: Sequence[ShardReport]) -> Iterator[str]:
    accounting = layer.manifest.accounting
    if not accounting.balanced(layer.manifest.num_examples):
        yield "the counts of keys and records do not add up"
    num_empty = sum(report.num_empty for report in reports)
    is_whole = not any(report.problems for report in reports)
    if is_whole and num_empty != accounting.records_without:
        yield (
            f"{num_empty} records have nothing added, but it counts "
            f"{accounting.records_without}"
        )
    if layer.manifest.has_captions:
        yield from wrong_statistics(layer.manifest.statistics, reports)
