"""START HERE for a build: prepares the output and runs both pipelines."""

import dataclasses
from functools import partial
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.carried import with_carried
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.key_file import dump_keys
from beam_jobs.elements import ListTask
from beam_jobs.encoding.codecs import codecs_restored
from beam_jobs.engines.options import engine_options
from beam_jobs.engines.runner import dry_run, run_pipeline
from beam_jobs.job.explained import explained, full_disk_explained
from beam_jobs.job.output import (
    DATASET,
    prepared_output,
    remove_product,
    remove_strays,
    remove_workspace,
    temporary_output,
)
from beam_jobs.job.plan_changes import check_commits, keep_plan_of_commits
from beam_jobs.job.progress_bar import planning_bar, writing_bar
from beam_jobs.job.run_repair import Repair, run_repair
from beam_jobs.job.touched_sources import adopt_shards
from beam_jobs.pipeline import plan, write
from beam_jobs.planning.job_plan import JobPlan, parse_plan
from beam_jobs.sources.registry import list_tasks
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.commits import committed_names
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import Outcome, parse_outcome, rejected_plan
from beam_jobs.writing.repair import all_reject_lines
from beam_jobs.writing.shard_writer import ShardWriter
from reader.contract.errors import BuildError


class BuildResult(NamedTuple):
    """Result of a job.

    Attributes:
        plan: Plan of the job.
        outcome: Outcome of the job. None after a repair, or after planning only if
            the plan exceeds no limit.
        repaired: Labels of repaired shards and names of other repaired files. None
            unless the job repaired a complete dataset.
    """

    plan: JobPlan
    outcome: Outcome | None
    repaired: tuple[str, ...] | None = None

    @property
    def mended(self) -> tuple[str, ...] | None:
        """Deprecated name of `repaired`."""
        return self.repaired


class _Files(NamedTuple):
    """What flags name besides the source, for workers that cannot read it.

    Attributes:
        tokenizer: Bytes of the tokenizer's file; None for a vocabulary that the job
            counts.
        excluded: Keys that are not written, as text.
    """

    tokenizer: bytes | None
    excluded: frozenset[str]


def _read_files(config: JobConfig) -> _Files:
    return _Files(config.read_tokenizer(), config.read_excluded())


def check(config: JobConfig, options: PipelineOptions) -> str:
    """Checks the planning pipeline without running it (`--dry_run`).

    Args:
        config: Configuration of the job.
        options: Beam's pipeline options.

    Returns:
        Description of the pipeline that would be submitted.
    """
    config = with_carried(config)
    _read_files(config)
    tasks = list_tasks(config)
    return dry_run(options, lambda root: plan(root, config, "no lease", tasks))


@codecs_restored()
def run(
    config: JobConfig, options: PipelineOptions | None = None
) -> BuildResult | None:
    """Builds a dataset: plans it, writes it and publishes it.

    The dataset is published only if `outcome.failures` of the result is empty.

    Args:
        config: Configuration of the job.
        options: Beam's pipeline options. By default the local engine is used.

    Returns:
        Result of the job, or None if the dataset is already complete. The reasons why
        a dataset was not published are in `outcome.failures`.

    Raises:
        UsageError: A folder or the tokenizer does not match the configuration.
        BuildError: The output holds other files, or a file could not be read or
            written. Finished shards are kept.
    """
    config = with_carried(config)
    options = options or engine_options(config, [])
    if config.plan_only:
        return _plan_only(config, options)
    files = _read_files(config)
    tasks = list_tasks(config)
    workspace = Workspace(config.output)
    with (
        full_disk_explained(workspace),
        prepared_output(workspace, config, DATASET) as lease,
    ):
        if lease is None:
            return None
        job_plan = _run_plan(workspace, config, options, lease, tasks, files)
        manifest = DATASET.finished(workspace) if config.repair else None
        if manifest is not None:
            repaired = run_repair(
                workspace,
                config,
                options,
                Repair(job_plan, manifest, ShardWriter, all_reject_lines),
                lease,
            )
            return BuildResult(job_plan, None, repaired)
        outcome = rejected_plan(config, job_plan)
        if outcome is None:
            if config.overwrite:
                # Removed only now, so a mistyped source does not delete the dataset.
                check_lease(workspace, lease)
                remove_product(workspace, DATASET)
            outcome = _run_write(workspace, config, options, job_plan, lease)
        if not outcome.failures:
            check_lease(workspace, lease)
            remove_workspace(workspace)
        return BuildResult(job_plan, outcome)


def _plan_only(config: JobConfig, options: PipelineOptions) -> BuildResult:
    """Plans in a temporary folder. The output does not change."""
    with temporary_output() as (workspace, lease):
        temporary = dataclasses.replace(config, output=workspace.output)
        # Of this configuration, with which workers get what was read.
        files = _read_files(temporary)
        tasks = list_tasks(config)
        job_plan = _run_plan(workspace, temporary, options, lease, tasks, files)
        return BuildResult(job_plan, rejected_plan(temporary, job_plan))


def _run_plan(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    lease: str,
    tasks: list[ListTask],
    files: _Files,
) -> JobPlan:
    keep_plan_of_commits(workspace)
    if files.tokenizer is not None:
        workspace.publish(workspace.tokenizer, files.tokenizer)
    if files.excluded:
        workspace.publish(workspace.excluded, dump_keys(files.excluded))
    # A plan alone reads few images, and its folder is a temporary one.
    stages = config.reads_contents or not config.plan_only
    tasks = [task._replace(stages_images=stages) for task in tasks]
    with explained(workspace, lease), planning_bar(workspace):
        run_pipeline(options, lambda root: plan(root, config, lease, tasks))
    job_plan = parse_plan(read_file(workspace.plan))
    if not job_plan.found:
        if not committed_names(workspace):
            remove_workspace(workspace)
        ignored = ", ".join(f"{n} {kind}" for kind, n in job_plan.ignored.items())
        raise BuildError(
            f"no images and no captions in {' and '.join(config.sources)}"
            + (f" (only {ignored})" if ignored else "")
        )
    return job_plan


def _run_write(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    job_plan: JobPlan,
    lease: str,
) -> Outcome:
    check_commits(workspace, job_plan, partial(adopt_shards, config=config))
    check_lease(workspace, lease)
    remove_strays(workspace, job_plan)
    with (
        explained(workspace, lease),
        writing_bar(workspace, job_plan, job_plan.num_pairs),
    ):
        run_pipeline(options, lambda root: write(root, config, job_plan, lease))
    return parse_outcome(read_file(workspace.outcome))
