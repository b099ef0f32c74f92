"""Repairs a finished output in place: a dataset or a layer."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.engines.runner import run_pipeline
from beam_jobs.job.explained import explained
from beam_jobs.job.output import remove_workspace
from beam_jobs.pipeline import repair
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.storage.files import delete_file
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.repair import (
    check_plan,
    repair_others,
    repair_tasks,
    repaired_shards,
)
from beam_jobs.writing.write_shards import MakeWriter
from reader.contract import layout
from reader.contract.additions.layer import LayerManifest
from reader.contract.manifest import Manifest


class Repair(NamedTuple):
    """What a repair needs to know.

    Attributes:
        plan: Plan of the job, made from the current sources.
        manifest: Last file of the output, with the checksums.
        writer: Class of the writer.
        rejects: Function that makes the bytes of `rejects.jsonl`.
    """

    plan: JobPlan
    manifest: Manifest | LayerManifest
    writer: MakeWriter
    rejects: Callable[[Workspace], bytes]


def run_repair(
    workspace: Workspace,
    config: CommonConfig,
    options: PipelineOptions,
    what: Repair,
    lease: str,
) -> tuple[str, ...]:
    """Rewrites damaged files and returns labels of shards and names of other files.

    Args:
        workspace: Workspace of the job.
        config: Configuration of the job.
        options: Beam's pipeline options.
        what: What to repair.
        lease: Token of the output's lease, held by the running job.

    Raises:
        BuildError: The sources have changed.
    """
    plan, manifest = what.plan, what.manifest
    check_plan(config, plan, manifest)
    workspace.forget_attempts()
    tasks = repair_tasks(workspace, plan, manifest)
    with explained(workspace, lease):
        run_pipeline(
            options,
            lambda root: repair(root, config, plan, lease, tasks, what.writer),
        )
    check_lease(workspace, lease)
    repaired = [*repaired_shards(workspace, plan)]
    repaired += repair_others(
        workspace, plan, manifest, partial(what.rejects, workspace)
    )
    if repaired:
        # The report may show the damage.
        delete_file(workspace.published(layout.REPORT))
    remove_workspace(workspace)
    return tuple(repaired)
