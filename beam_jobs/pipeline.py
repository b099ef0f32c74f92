"""START HERE: the job, as two linear pipelines and what holds them together.

    plan    list → pair → compare contents → count the vocabulary → close the plan
    write   shards → write each → finalise

Between the two lies `_build/plan/`; after them, the dataset. Both may run again after
being cut off anywhere, and end in the same bytes.
"""

import contextlib
import dataclasses
import errno
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.commits import committed_names
from beam_jobs.contents import CompareContents
from beam_jobs.elements import ListTask
from beam_jobs.engines import engine_options, run_pipeline
from beam_jobs.failures import read_notes
from beam_jobs.job_plan import JobPlan, parse_plan
from beam_jobs.listing import ListSources
from beam_jobs.manifest import Finalise
from beam_jobs.options import JobConfig
from beam_jobs.outcome import Outcome, parse_outcome, turned_down
from beam_jobs.output import (
    check_commits,
    prepared_output,
    remove_dataset,
    remove_strays,
    remove_workspace,
)
from beam_jobs.pairing import PairFiles
from beam_jobs.planning import ClosePlan
from beam_jobs.progress import ProgressBar
from beam_jobs.shards import WriteShards
from beam_jobs.sources.catalogue import list_tasks
from beam_jobs.storage import read_file
from beam_jobs.tokenizer_files import given_tokenizer
from beam_jobs.vocabulary import CountTokens
from beam_jobs.workspace import Workspace
from reader.contract.errors import BuildError


def plan(
    root: beam.Pipeline, config: JobConfig, tasks: list[ListTask]
) -> beam.PCollection[str]:
    """Wires the planning pipeline; it leaves the plan in `_build/plan/`."""
    return (
        root
        | "Name parts" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "List sources" >> ListSources(config)
        | "Group by bucket" >> beam.GroupByKey()
        | "Pair files" >> PairFiles(config)
        | "Compare contents" >> CompareContents(config)
        | "Count tokens" >> CountTokens(config)
        | "Close plan" >> ClosePlan(config)
    )


def write(
    root: beam.Pipeline, config: JobConfig, job_plan: JobPlan
) -> beam.PCollection[str]:
    """Wires the writing pipeline; it leaves the dataset."""
    return (
        root
        | "Name shards" >> beam.Create(job_plan.shards())
        | "Spread" >> beam.Reshuffle()
        | "Write shards" >> WriteShards(config, job_plan.tokenizer)
        | "Finalise" >> Finalise(config, job_plan)
    )


# What Beam's local engine says of it.
_WORKER_DIED = "Channel closed prematurely"
_NO_SPACE = os.strerror(errno.ENOSPC)


class BuildResult(NamedTuple):
    """What a job did.

    Attributes:
        plan: What was planned.
        outcome: What became of it; None after planning only.
    """

    plan: JobPlan
    outcome: Outcome | None


def run(
    config: JobConfig, options: PipelineOptions | None = None
) -> BuildResult | None:
    """Plans and writes; returns None if the dataset was complete already.

    A dataset is published only if the result's `outcome.failures` is empty.

    Args:
        config: What to build.
        options: Beam's, for another engine than the local one.

    Raises:
        UsageError: The folders or the tokenizer are not as the configuration says.
        BuildError: The output holds something else, or a file could not be read or
            written. What is done is kept.
    """
    tasks = list_tasks(config)
    tokenizer = given_tokenizer(config.tokenizer, config.tokenizer_sha256)
    options = options or engine_options(config, [])
    if config.plan_only:
        return _plan_only(config, options, tasks, tokenizer)
    workspace = Workspace(config.output)
    with prepared_output(workspace, config) as complete:
        if complete:
            return None
        job_plan = _run_plan(workspace, config, options, tasks, tokenizer)
        outcome = turned_down(config, job_plan)
        if outcome is None:
            if config.overwrite:
                # Not before: a mistyped folder should not cost the old dataset.
                remove_dataset(workspace)
            outcome = _run_write(workspace, config, options, job_plan)
        if not outcome.failures:
            remove_workspace(workspace)
        return BuildResult(job_plan, outcome)


def _plan_only(
    config: JobConfig,
    options: PipelineOptions,
    tasks: list[ListTask],
    tokenizer: bytes | None,
) -> BuildResult:
    """Plans in a folder of its own: the output stays as it is."""
    with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
        elsewhere = dataclasses.replace(config, output=folder)
        job_plan = _run_plan(Workspace(folder), elsewhere, options, tasks, tokenizer)
        return BuildResult(job_plan, turned_down(elsewhere, job_plan))


def _run_plan(
    workspace: Workspace,
    config: JobConfig,
    options: PipelineOptions,
    tasks: list[ListTask],
    tokenizer: bytes | None,
) -> JobPlan:
    workspace.clear_plan()
    if tokenizer is not None:
        workspace.publish(workspace.tokenizer, tokenizer)
    with _explained(workspace):
        run_pipeline(options, lambda root: plan(root, config, tasks))
    job_plan = parse_plan(read_file(workspace.plan))
    if not job_plan.found:
        if not any(committed_names(workspace)):
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
) -> Outcome:
    check_commits(workspace, job_plan)
    remove_strays(workspace, job_plan)
    with _explained(workspace), ProgressBar(workspace, job_plan):
        run_pipeline(options, lambda root: write(root, config, job_plan))
    return parse_outcome(read_file(workspace.outcome))


@contextlib.contextmanager
def _explained(workspace: Workspace) -> Iterator[None]:
    """Puts what a worker noted in the place of what the engine made of it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if str(error).startswith("KeyboardInterrupt"):
            # Ctrl-C, which the local engine wraps as it does a DoFn's exception.
            raise KeyboardInterrupt from error
        # Before notes: on a full disk there is no room for them.
        if _NO_SPACE in str(error):
            raise BuildError(
                f"no space left for {workspace.output}: make room and run the command "
                "again, finished shards are kept"
            ) from error
        notes = read_notes(workspace)
        if notes:
            more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
            raise BuildError(f"{notes[0]}{more}") from error
        if _WORKER_DIED in str(error):
            raise BuildError(
                "a worker process died, perhaps for lack of memory: lower --workers or "
                "--threads and run the command again, finished shards are kept"
            ) from error
        raise
