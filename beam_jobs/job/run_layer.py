"""START HERE for a layer: prepares the output and runs both pipelines."""

import dataclasses
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.engines.options import engine_options
from beam_jobs.engines.runner import dry_run, run_pipeline
from beam_jobs.job.explained import explained, full_disk_explained
from beam_jobs.job.output import (
    Product,
    prepared_output,
    remove_product,
    remove_strays,
    remove_workspace,
    temporary_output,
)
from beam_jobs.job.plan_changes import check_commits, keep_plan_of_commits
from beam_jobs.job.progress_bar import planning_bar, writing_bar
from beam_jobs.job.run_repair import Repair, run_repair
from beam_jobs.layers.close_layer_plan import close_layer_plan
from beam_jobs.layers.layer_accounting import (
    LayerOutcome,
    layer_reject_lines,
    planned_outcome,
    publish_rejects,
)
from beam_jobs.layers.layer_writer import LayerWriter
from beam_jobs.layers.tables import TableTask, digest_of_tables, table_tasks
from beam_jobs.pipeline import plan_layer, write_layer
from beam_jobs.planning.job_plan import JobPlan, parse_plan
from beam_jobs.planning.library_versions import layer_versions
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from reader.contract.additions.layer import LAYER, parse_layer
from reader.contract.errors import UsageError

LAYERS = Product("layer", LAYER, parse_layer, digest_of_tables, layer_versions)


class LayerResult(NamedTuple):
    """Result of a job that makes a layer.

    Attributes:
        plan: Plan of the job.
        outcome: Counts of the layer, and the reasons why it was not written.
        repaired: Labels of repaired shards and names of other repaired files. None
            unless the job repaired a complete layer.
    """

    plan: JobPlan
    outcome: LayerOutcome
    repaired: tuple[str, ...] | None = None


class _Inputs(NamedTuple):
    """What is read before work begins.

    Attributes:
        tasks: Tables to list.
        tokenizer: Bytes of the tokenizer's file.
    """

    tasks: list[TableTask]
    tokenizer: bytes


def check_layer(config: LayerConfig, options: PipelineOptions) -> str:
    """Checks the planning pipeline without running it (`--dry_run`).

    Args:
        config: Configuration of the layer.
        options: Beam's pipeline options.

    Returns:
        Description of the pipeline that would be submitted.
    """
    tasks = _inputs_of(config).tasks
    return dry_run(options, lambda root: plan_layer(root, config, "no lease", tasks))


def layer(
    config: LayerConfig, options: PipelineOptions | None = None
) -> LayerResult | None:
    """Makes a layer: plans it, writes it and publishes it.

    The layer is written only if `outcome.failures` of the result is empty.

    Args:
        config: Configuration of the layer.
        options: Beam's pipeline options. By default the local engine is used.

    Returns:
        Result of the job, or None if the layer is already complete. The reasons why a
        layer was not written are in `outcome.failures`.

    Raises:
        UsageError: The dataset, a table or the tokenizer does not match the
            configuration.
        BuildError: The output holds other files, or a file could not be read or
            written. Finished shards are kept.
    """
    options = options or engine_options(config, [])
    inputs = _inputs_of(config)
    if config.plan_only:
        return _plan_only(config, options)
    workspace = Workspace(config.output)
    with (
        full_disk_explained(workspace),
        prepared_output(workspace, config, LAYERS) as lease,
    ):
        if lease is None:
            return None
        return _run(workspace, config, options, lease, inputs)


def _inputs_of(config: LayerConfig) -> _Inputs:
    """Reads the dataset's manifest, the tokenizer and the headings of the tables.

    Raises:
        UsageError: One of these does not match the configuration.
    """
    _ = config.base
    tokenizer = config.read_tokenizer()
    if tokenizer is None:
        raise UsageError("tokenizer must have a file: pass the folder of a dataset")
    return _Inputs(table_tasks(config), tokenizer)


def _run(
    workspace: Workspace,
    config: LayerConfig,
    options: PipelineOptions,
    lease: str,
    inputs: _Inputs,
) -> LayerResult:
    plan = _run_plan(workspace, config, options, lease, inputs)
    outcome = planned_outcome(workspace, config, plan)
    manifest = LAYERS.finished(workspace) if config.repair else None
    if manifest is not None:
        what = Repair(plan, manifest, LayerWriter, layer_reject_lines)
        repaired = run_repair(workspace, config, options, what, lease)
        return LayerResult(plan, outcome, repaired)
    if outcome.failures:
        publish_rejects(workspace, workspace.too_many_rejects)
        return LayerResult(plan, outcome)
    if config.overwrite:
        # Removed only now, so a mistyped table does not delete the layer.
        check_lease(workspace, lease)
        remove_product(workspace, LAYERS)
    _run_write(workspace, config, options, plan, lease)
    check_lease(workspace, lease)
    remove_workspace(workspace)
    return LayerResult(plan, outcome)


def _plan_only(config: LayerConfig, options: PipelineOptions) -> LayerResult:
    """Plans in a temporary folder. The output does not change."""
    with temporary_output() as (workspace, lease):
        temporary = dataclasses.replace(config, output=workspace.output)
        # Of this configuration, with which workers get what was read.
        inputs = _inputs_of(temporary)
        plan = _run_plan(workspace, temporary, options, lease, inputs)
        return LayerResult(plan, planned_outcome(workspace, temporary, plan))


def _run_plan(
    workspace: Workspace,
    config: LayerConfig,
    options: PipelineOptions,
    lease: str,
    inputs: _Inputs,
) -> JobPlan:
    keep_plan_of_commits(workspace)
    workspace.publish(workspace.tokenizer, inputs.tokenizer)
    if config.retokenize:
        # There are no rows, so there is nothing to match.
        return close_layer_plan(workspace, [], config)
    with explained(workspace, lease), planning_bar(workspace):
        run_pipeline(
            options, lambda root: plan_layer(root, config, lease, inputs.tasks)
        )
    return parse_plan(read_file(workspace.plan))


def _run_write(
    workspace: Workspace,
    config: LayerConfig,
    options: PipelineOptions,
    plan: JobPlan,
    lease: str,
) -> None:
    check_commits(workspace, plan)
    check_lease(workspace, lease)
    remove_strays(workspace, plan)
    bar = writing_bar(workspace, plan, config.base.num_examples)
    with explained(workspace, lease), bar:
        run_pipeline(options, lambda root: write_layer(root, config, plan, lease))
