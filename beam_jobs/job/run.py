"""START HERE for a build: prepare the output, run both pipelines, explain errors."""

import contextlib
import dataclasses
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.tokenizer_file import given_tokenizer
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

# What Beam's local engine says of it.
_WORKER_DIED = "Channel closed prematurely"
_OF_A_FILE = re.compile(r"\[Errno \d+\] ([^\n]+?)(?: \[while running [^\n]*)?\s*\Z")
_NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


class BuildResult(NamedTuple):
    """What a job did.

    Attributes:
        plan: What was planned.
        outcome: What became of it; None after planning only, or mending.
        repaired: Labels of shards and names of files that were damaged and are whole
            again; None unless `repair` was asked for.
    """

    plan: JobPlan
    outcome: Outcome | None
    repaired: tuple[str, ...] | None = None

    @property
    def mended(self) -> tuple[str, ...] | None:
        """Former name of `repaired`."""
        return self.repaired


def check(config: JobConfig, options: PipelineOptions) -> str:
    """Checks the first job as Beam does; tells what would be submitted."""
    tasks = list_tasks(config)
    given_tokenizer(config.tokenizer, config.tokenizer_sha256)
    return dry_run(options, lambda root: plan(root, config, "no lease", tasks))


@codecs_restored()
def run(
    config: JobConfig, options: PipelineOptions | None = None
) -> BuildResult | None:
    """Plans and writes; returns None if the dataset was complete already.

    A dataset is published only if the result's `outcome.failures` is empty.

    Args:
        config: What to build.
        options: Beam's, for another engine than the local one.

    Returns:
        A `BuildResult`. Its `outcome` is None after planning only, or mending, and
        `outcome.failures` says, a line each, why a job has not published.

    Raises:
        UsageError: The folders or the tokenizer are not as the configuration says.
        BuildError: The output holds something else, or a file could not be read or
            written. What is done is kept.
    """
    options = options or engine_options(config, [])
    tasks = list_tasks(config)
    if config.plan_only:
        return _plan_only(config, options, tasks)
    tokenizer = given_tokenizer(config.tokenizer, config.tokenizer_sha256)
    workspace = Workspace(config.output)
    with _room_wanted(workspace), prepared_output(workspace, config) as lease:
        if lease is None:
            return None
        job_plan = _run_plan(workspace, config, options, lease, tasks, tokenizer)
        manifest = manifest_of(workspace) if config.repair else None
        if manifest is not None:
            repaired = _run_repair(
                workspace, config, options, job_plan, lease, manifest
            )
            return BuildResult(job_plan, None, repaired)
        outcome = rejected_plan(config, job_plan)
        if outcome is None:
            if config.overwrite:
                # Not before: a mistyped folder should not cost the old dataset.
                check_lease(workspace, lease)
                remove_dataset(workspace)
            outcome = _run_write(workspace, config, options, job_plan, lease)
        if not outcome.failures:
            check_lease(workspace, lease)
            remove_workspace(workspace)
        return BuildResult(job_plan, outcome)


def _plan_only(
    config: JobConfig, options: PipelineOptions, tasks: list[ListTask]
) -> BuildResult:
    """Plans in a folder of its own: the output stays as it is."""
    with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
        elsewhere = dataclasses.replace(config, output=folder)
        tokenizer = given_tokenizer(elsewhere.tokenizer, elsewhere.tokenizer_sha256)
        workspace = Workspace(folder)
        make_folder(workspace.build)
        with leased(workspace, take_over=False) as lease:
            job_plan = _run_plan(workspace, elsewhere, options, lease, tasks, tokenizer)
        return BuildResult(job_plan, rejected_plan(elsewhere, job_plan))


def _run_plan(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    lease: str,
    tasks: list[ListTask],
    tokenizer: bytes | None,
) -> JobPlan:
    keep_plan_of_commits(workspace)
    if tokenizer is not None:
        workspace.publish(workspace.tokenizer, tokenizer)
    with _explained(workspace, lease), planning_bar(workspace):
        run_pipeline(options, lambda root: plan(root, config, lease, tasks))
    job_plan = parse_plan(read_file(workspace.plan))
    if not job_plan.found:
        if not committed_names(workspace):
            remove_workspace(workspace)
        others = ", ".join(f"{n} {kind}" for kind, n in job_plan.ignored.items())
        raise BuildError(
            f"no images and no captions in {' and '.join(config.sources)}"
            + (f" (only {others})" if others else "")
        )
    return job_plan


def _run_write(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    job_plan: JobPlan,
    lease: str,
) -> Outcome:
    check_commits(workspace, job_plan)
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
        # It may show the damage.
        delete_file(workspace.published(layout.REPORT))
    remove_workspace(workspace)
    return tuple(repaired)


@contextlib.contextmanager
def _explained(workspace: Workspace, lease: str) -> Iterator[None]:
    """Puts what a worker noted in the place of what the engine made of it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if str(error).startswith("KeyboardInterrupt"):
            # Ctrl-C, which the local engine wraps as it does a DoFn's exception.
            raise KeyboardInterrupt from error
        # A worker leaves no note of it: that would be the other job's.
        with contextlib.suppress(OSError):
            check_lease(workspace, lease)
        # Before notes: on a full disk there is no room for them.
        if any(words in str(error) for words in _NO_SPACE):
            raise _no_space(workspace) from error
        notes = read_notes(workspace)
        if notes:
            more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
            raise BuildError(f"{notes[0]}{more}") from error
        if _WORKER_DIED in str(error):
            raise BuildError(
                "a worker process died, perhaps for lack of memory: lower --workers or "
                "--threads and run the command again, finished shards are kept"
            ) from error
        if isinstance(error, BuildError):
            raise
        if told := _OF_A_FILE.search(str(error)):
            # Where the folder of notes is what cannot be written to.
            raise BuildError(
                f"{told[1]}: mend it and run the command again, finished shards are "
                "kept"
            ) from error
        raise


@contextlib.contextmanager
def _room_wanted(workspace: Workspace) -> Iterator[None]:
    """Says what a full disk asks for, where the launcher itself meets it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(workspace) from error


def _no_space(workspace: Workspace) -> BuildError:
    where = workspace.output
    if is_remote(where):
        where += f", in a worker's {tempfile.gettempdir()} (TMPDIR names another)"
    return BuildError(
        f"no space left for {where}: make room and run the command again, finished "
        "shards are kept"
    )
