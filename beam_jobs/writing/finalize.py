"""Finalize: committed shards → accounting, rejects, index and, last, the manifest.

Finalizing is idempotent. It can be repeated, also after an interruption at any point.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Reject
from beam_jobs.interop import interop_files
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import read_all_rejects
from beam_jobs.sources.listing_digest import sum_hashes
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.commits import Commit, read_commits
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import dump_outcome, judge, reject_lines
from reader.contract import layout
from reader.contract.errors import BuildError
from reader.contract.index import index_files, parse_lengths
from reader.contract.manifest import (
    KeyAccounting,
    Manifest,
    Split,
    dump_manifest,
)
from reader.contract.record import crc32c_hex
from reader.contract.statistics import Statistics

# Publishes what belongs to no shard, given the configuration, the plan and the lease.
# Returns the reasons why it did not.
Finish = Callable[[Any, JobPlan, str], tuple[str, ...]]


class Finalize(beam.PTransform):
    """Publishes the dataset: number of examples in each shard → summary of the job."""

    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, finish: Finish
    ) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            finish: Function that publishes what belongs to no shard.
        """
        super().__init__()
        self._fn = _FinalizeFn(config, plan, lease, finish)

    def expand(self, shards: beam.PCollection[int]) -> beam.PCollection[str]:
        """Waits for all shards, then reads all commit records in one DoFn."""
        return (
            shards
            | "Wait for shards" >> beam.CombineGlobally(sum)
            | "Finalize" >> beam.ParDo(self._fn)
        )


class _FinalizeFn(beam.DoFn):
    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, finish: Finish
    ) -> None:
        self._config = config
        self._plan = plan
        self._lease = lease
        self._finish = finish

    def process(self, written: int) -> Iterator[str]:
        workspace = Workspace(self._config.output)
        with noted(workspace, "finalizing"):
            check_lease(workspace, self._lease)
            failures = self._finish(self._config, self._plan, self._lease)
        yield "; ".join(failures) or f"{written} examples"


def finalize(config: JobConfig, plan: JobPlan, lease: str) -> tuple[str, ...]:
    """Publishes the dataset if the counts add up and no limit is exceeded.

    Args:
        config: Configuration of the job.
        plan: Plan of the job.
        lease: Token of the output's lease, held by the running job.

    Returns:
        The failures of the outcome, which is written to `_build/outcome.json`.

    Raises:
        BuildError: A shard is not finished, or another job holds the lease.
    """
    workspace = Workspace(config.output)
    commits = list(commits_of(workspace, plan))
    rejects = sorted(
        [
            *read_all_rejects(workspace),
            *(r for commit in commits for r in commit.rejects),
        ]
    )
    written = sum(commit.shard.num_examples for commit in commits)
    dropped = sum(commit.dropped_captions for commit in commits)
    outcome = judge(config, plan.found, written, rejects, dropped)
    # Check the lease again, because reading many commit records takes a while.
    check_lease(workspace, lease)
    if outcome.failures:
        workspace.publish(workspace.too_many_rejects, reject_lines(rejects))
    else:
        _publish_dataset(workspace, config, plan, commits, rejects, outcome.accounting)
    workspace.publish(workspace.outcome, dump_outcome(outcome))
    return outcome.failures


def commits_of(workspace: Workspace, plan: JobPlan) -> Iterator[Commit]:
    """Yields the commit records of all shards, in order.

    Raises:
        BuildError: A shard is not finished.
    """
    labels = [shard.label for shard in plan.shards()]
    for label, commit in zip(labels, read_commits(workspace, labels), strict=True):
        if commit is None or commit.plan != plan.fingerprint:
            raise BuildError(f"shard {label} is not finished: run the command again")
        yield commit


def _publish_dataset(
    workspace: Workspace,
    config: JobConfig,
    plan: JobPlan,
    commits: list[Commit],
    rejects: list[Reject],
    accounting: KeyAccounting,
) -> None:
    files = {
        **index_files(parse_lengths(commit.lengths) for commit in commits),
        f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}": read_file(workspace.tokenizer),
        layout.REJECTS: reject_lines(rejects),
    }
    checksums = {file: crc32c_hex(data) for file, data in files.items()}
    for commit in commits:
        checksums |= commit.files
    manifest = _make_manifest(config, plan, commits, accounting, checksums)
    # These files are derived from the manifest, which then stores their checksums.
    interop = interop_files(manifest)
    checksums |= {file: crc32c_hex(data) for file, data in interop.items()}
    files |= interop
    manifest = dataclasses.replace(manifest, files=checksums)
    for file, data in (*files.items(), (layout.MANIFEST, dump_manifest(manifest))):
        workspace.publish(workspace.published(file), data)


def _make_manifest(
    config: JobConfig,
    plan: JobPlan,
    commits: list[Commit],
    accounting: KeyAccounting,
    files: dict[str, str],
) -> Manifest:
    return Manifest(
        name=config.name,
        features=config.features,
        image=config.image_spec,
        tokenizer=plan.tokenizer,
        splits=tuple(_splits(plan, commits)),
        accounting=accounting,
        files=files,
        fingerprints=fingerprints_of(config, plan, commits),
        config=config.fingerprint_fields(),
        versions=plan.versions,
        about=config.about,
        caption_names=config.names_of_captions,
    )


def _splits(plan: JobPlan, commits: list[Commit]) -> Iterator[Split]:
    for name, split_commits in by_split(plan, commits).items():
        yield Split(
            name=name,
            shards=tuple(commit.shard for commit in split_commits),
            statistics=merged_statistics(split_commits),
        )


def by_split(plan: JobPlan, commits: list[Commit]) -> dict[str, list[Commit]]:
    """Returns the commit records of each split, in order."""
    rest = iter(commits)
    return {
        split.name: list(itertools.islice(rest, split.num_shards))
        for split in plan.splits
    }


def merged_statistics(commits: Iterable[Commit]) -> Statistics:
    """Returns the statistics of the records of several shards."""
    each = (commit.statistics for commit in commits)
    return functools.reduce(Statistics.merge, each, Statistics())


def fingerprints_of(
    config: CommonConfig, plan: JobPlan, commits: Iterable[Commit]
) -> dict[str, str]:
    """Returns hashes of the input, its listing and the settings, by their names."""
    return {
        "input": sum_hashes(commit.input for commit in commits),
        "listing": plan.listing,
        "config": config.fingerprint,
    }
