"""Finalize: committed shards → accounting, rejects, index and, last, the manifest.

Finalizing is idempotent. It can be repeated, also after an interruption at any point.
"""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Reject
from beam_jobs.interop import interop_files
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import read_all_rejects
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.commits import Commit, read_commits
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import Outcome, dump_outcome, judge, reject_lines
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


class Finalize(beam.PTransform):
    """Publishes the dataset: number of examples in each shard → summary of the job."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._fn = _FinalizeFn(config, plan, lease)

    def expand(self, shards: beam.PCollection[int]) -> beam.PCollection[str]:
        """Waits for all shards, then reads all commit records in one DoFn."""
        return (
            shards
            | "Wait for shards" >> beam.CombineGlobally(sum)
            | "Finalize" >> beam.ParDo(self._fn)
        )


class _FinalizeFn(beam.DoFn):
    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        self._config = config
        self._plan = plan
        self._lease = lease

    def process(self, written: int) -> Iterator[str]:
        workspace = Workspace(self._config.output)
        with noted(workspace, "finalizing"):
            check_lease(workspace, self._lease)
            outcome = finalize(self._config, self._plan, self._lease)
        yield "; ".join(outcome.failures) or f"{written} examples"


def finalize(config: JobConfig, plan: JobPlan, lease: str) -> Outcome:
    """Publishes the dataset if the counts add up and no limit is exceeded.

    Args:
        config: Configuration of the job.
        plan: Plan of the job.
        lease: Token of the output's lease, held by the running job.

    Returns:
        The outcome, which is also written to `_build/outcome.json`.

    Raises:
        BuildError: A shard is not finished, or another job holds the lease.
    """
    workspace = Workspace(config.output)
    commits = list(_commits_of(workspace, plan))
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
    return outcome


def _commits_of(workspace: Workspace, plan: JobPlan) -> Iterator[Commit]:
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
        fingerprints={
            "input": f"{sum(commit.input for commit in commits) % 2**256:064x}",
            "listing": plan.listing,
            "config": config.fingerprint,
        },
        config=config.fingerprint_fields(),
        versions=plan.versions,
        about=config.about,
        caption_names=config.names_of_captions,
    )


def _splits(plan: JobPlan, commits: list[Commit]) -> Iterator[Split]:
    first = 0
    for split in plan.splits:
        split_commits = commits[first : first + split.num_shards]
        first += split.num_shards
        statistics = Statistics()
        for commit in split_commits:
            statistics = statistics.merge(commit.statistics)
        shards = tuple(commit.shard for commit in split_commits)
        yield Split(name=split.name, shards=shards, statistics=statistics)
