"""START HERE for a build: prepares the output and runs both pipelines."""

import contextlib
import dataclasses
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.carried import with_carried
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.key_file import dump_keys
from beam_jobs.elements import ListTask
from beam_jobs.encoding.codecs import codecs_restored
from beam_jobs.engines.options import engine_options
from beam_jobs.engines.runner import dry_run, run_pipeline
from beam_jobs.job.output import (
    manifest_of,
    prepared_output,
    remove_dataset,
    remove_strays,
    remove_workspace,
)
from beam_jobs.job.plan_changes import check_commits, keep_plan_of_commits
from beam_jobs.job.progress_bar import planning_bar, writing_bar
from beam_jobs.pipeline import plan, repair, write
from beam_jobs.planning.job_plan import JobPlan, parse_plan
from beam_jobs.sources.registry import list_tasks
from beam_jobs.storage.files import delete_file, is_remote, make_folder, read_file
from beam_jobs.workspace.commits import committed_names
from beam_jobs.workspace.lease import check_lease, leased
from beam_jobs.workspace.worker_errors import read_notes
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import Outcome, parse_outcome, rejected_plan
from beam_jobs.writing.repair import (
    check_plan,
    repair_others,
    repair_tasks,
    repaired_shards,
)
from reader.contract import layout
from reader.contract.errors import BuildError
from reader.contract.manifest import Manifest

_OS_ERROR = re.compile(r"\[Errno \d+\] ([^\n]+?)(?: \[while running [^\n]*)?\s*\Z")
_NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


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
    with _full_disk_explained(workspace), prepared_output(workspace, config) as lease:
        if lease is None:
            return None
        job_plan = _run_plan(workspace, config, options, lease, tasks, files)
        manifest = manifest_of(workspace) if config.repair else None
        if manifest is not None:
            repaired = _run_repair(
                workspace, config, options, job_plan, lease, manifest
            )
            return BuildResult(job_plan, None, repaired)
        outcome = rejected_plan(config, job_plan)
        if outcome is None:
            if config.overwrite:
                # Removed only now, so a mistyped source does not delete the dataset.
                check_lease(workspace, lease)
                remove_dataset(workspace)
            outcome = _run_write(workspace, config, options, job_plan, lease)
        if not outcome.failures:
            check_lease(workspace, lease)
            remove_workspace(workspace)
        return BuildResult(job_plan, outcome)


def _plan_only(config: JobConfig, options: PipelineOptions) -> BuildResult:
    """Plans in a temporary folder. The output does not change."""
    with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
        temporary = dataclasses.replace(config, output=folder)
        files = _read_files(temporary)
        tasks = list_tasks(config)
        workspace = Workspace(folder)
        make_folder(workspace.build)
        with leased(workspace, take_over=False) as lease:
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
    with _explained(workspace, lease), planning_bar(workspace):
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
    check_commits(workspace, job_plan, config)
    check_lease(workspace, lease)
    remove_strays(workspace, job_plan)
    with _explained(workspace, lease), writing_bar(workspace, job_plan):
        run_pipeline(options, lambda root: write(root, config, job_plan, lease))
    return parse_outcome(read_file(workspace.outcome))


def _run_repair(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    job_plan: JobPlan,
    lease: str,
    manifest: Manifest,
) -> tuple[str, ...]:
    check_plan(config, job_plan, manifest)
    workspace.forget_attempts()
    tasks = repair_tasks(workspace, job_plan, manifest)
    with _explained(workspace, lease):
        run_pipeline(options, lambda root: repair(root, config, job_plan, lease, tasks))
    check_lease(workspace, lease)
    repaired = [*repaired_shards(workspace, job_plan)]
    repaired += repair_others(workspace, job_plan, manifest)
    if repaired:
        # The report may show the damage.
        delete_file(workspace.published(layout.REPORT))
    remove_workspace(workspace)
    return tuple(repaired)


@contextlib.contextmanager
def _explained(workspace: Workspace, lease: str) -> Iterator[None]:
    """Replaces an engine's error with the error that a worker reported."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if str(error).startswith("KeyboardInterrupt"):
            # The local engine wraps Ctrl-C like an exception of a DoFn.
            raise KeyboardInterrupt from error
        # A worker that lost the lease leaves no note, because the note would belong to
        # the other job.
        with contextlib.suppress(OSError):
            check_lease(workspace, lease)
        # Checked before the notes, which cannot be written to a full disk.
        if any(words in str(error) for words in _NO_SPACE):
            raise _no_space(workspace) from error
        notes = read_notes(workspace)
        if notes:
            more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
            raise BuildError(f"{notes[0]}{more}") from error
        if isinstance(error, BuildError):
            raise
        if match := _OS_ERROR.search(str(error)):
            # The worker could not write a note either.
            raise BuildError(
                f"{match[1]}: fix it and run the command again; finished shards are "
                "kept"
            ) from error
        raise


@contextlib.contextmanager
def _full_disk_explained(workspace: Workspace) -> Iterator[None]:
    """Explains the launcher's own errors on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(workspace) from error


def _no_space(workspace: Workspace) -> BuildError:
    where = workspace.output
    if is_remote(where):
        where += f", in {tempfile.gettempdir()} of a worker (set TMPDIR to change it)"
    return BuildError(
        f"no space left for {where}: make room and run the command again; finished "
        "shards are kept"
    )
