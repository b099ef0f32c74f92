"""Checks every file of a dataset against the manifest, for `diptych verify`."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from reader.contract import schema
from reader.contract.checks import check_at_least
from reader.contract.errors import DatasetError
from reader.contract.host import num_cores
from reader.contract.layout import MANIFEST, TOKENIZER_DIR
from reader.contract.manifest import Shard
from reader.datasets.layers import list_layers
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.pixels.codecs import decoder
from reader.selections.selection import list_selections
from reader.tools.verify.file_check import check_files, check_rejects, flaw_of_file
from reader.tools.verify.layer_check import check_layers
from reader.tools.verify.problems import Problem
from reader.tools.verify.processes import checked_shards
from reader.tools.verify.shard_check import (
    ShardReport,
    repeated_keys,
    shard_tasks,
)
from reader.tools.verify.statistics_check import wrong_statistics


class Report(NamedTuple):
    """The result of verifying a dataset.

    Attributes:
        folder: Folder of the dataset.
        num_shards: Number of shards checked.
        num_examples: Number of valid examples read.
        num_bytes: Total size of the shards in bytes, from the manifest.
        num_layers: Number of layers checked.
        problems: All problems, first of the shards, then of the other files, then of
            the layers; `str` of a problem is one line of text.
    """

    folder: str
    num_shards: int
    num_examples: int
    num_bytes: int
    num_layers: int
    problems: list[Problem]


def verify(
    folder: str | os.PathLike[str],
    *,
    decode: bool = False,
    workers: int = 1,
    on_shard: Callable[[Shard], object] | None = None,
) -> Report:
    """Checks every checksum, count and key of a dataset, and its side files.

    Args:
        folder: Folder of the dataset, local or in a bucket.
        decode: Whether to decode every image as well, with one thread per core.
        workers: Number of processes that share the shards. With more than one,
            processes are spawned, so a script needs `if __name__ == "__main__":`.
        on_shard: Callback, called with each shard after its check.

    Returns:
        Counts of what was checked, and all problems.

    Raises:
        BuildError: A process died, so that the check is not complete.
        DatasetError: The folder holds no finished dataset.
        UsageError: `workers` is less than 1, or the library that decodes the images is
            not installed.
    """
    check_at_least("workers", workers, 1)
    dataset = open_dataset(folder)
    manifest = dataset.manifest
    if decode:
        decoder(manifest.image.format)  # Raises if the library is not installed.
    threads = -(-num_cores() // workers) if decode else 0
    tasks = shard_tasks(dataset.folder, manifest, threads)
    reports = []
    with checked_shards(tasks, workers) as checked:
        for report, task in zip(checked, tasks, strict=True):
            reports.append(report)
            if on_shard is not None:
                on_shard(task.shard)
    problems = [problem for report in reports for problem in report.problems]
    problems += repeated_keys(reports)
    problems += _check_statistics(dataset, reports)
    problems += check_files(dataset.indexed, MANIFEST, manifest.tokenizer)
    problems += _check_accounting(dataset)
    problems += _check_selections(dataset)
    layers = [each for each in list_layers(dataset) if not each.in_progress]
    keys = {os.path.basename(report.path): report.keys for report in reports}
    problems += check_layers(layers, workers, keys)
    return Report(
        folder=dataset.folder,
        num_shards=len(tasks),
        num_examples=sum(len(report.keys) for report in reports),
        num_bytes=sum(shard.num_bytes for shard in manifest.shards),
        num_layers=len(layers),
        problems=problems,
    )


def _check_statistics(
    dataset: ManifestDataset, reports: Sequence[ShardReport]
) -> Iterator[Problem]:
    """Yields splits whose statistics in the manifest differ from their records."""
    stated = {split.name: split.statistics for split in dataset.manifest.splits}
    for what in wrong_statistics(stated, reports):
        yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")


def _check_accounting(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields contradictions of the manifest with itself, the tokenizer or rejects."""
    manifest = dataset.manifest
    for what in _contradictions(dataset):
        yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")
    yield from check_rejects(dataset.indexed, manifest.accounting.not_written)


def _check_selections(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields selections that cannot be used."""
    for listed in list_selections(dataset):
        if listed.problem is not None:
            what = listed.problem.removeprefix(listed.path).lstrip(" /")
            yield Problem(listed.path, what, remedy="select")


def _contradictions(dataset: ManifestDataset) -> Iterator[str]:
    manifest = dataset.manifest
    spec, file = manifest.tokenizer, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}"
    if flaw_of_file(dataset.indexed, file, manifest.files.get(file, "")) is None:
        try:
            # Not `tokenizer()`: its library may not be installed.
            dataset.tokenizer_data()
        except DatasetError as error:
            yield f"{spec.file} is not the tokenizer of the manifest: {error}"
    described = {feature.key for feature in manifest.features}
    for feature in schema.FEATURES:
        if feature.key not in described:
            yield f"feature {feature.key} is not described"
    if not manifest.accounting.balanced:
        yield "the counts of keys do not add up"
    if manifest.accounting.written != manifest.num_examples:
        yield "the number of written keys differs from the examples of the shards"
