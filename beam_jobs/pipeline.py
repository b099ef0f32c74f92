"""START HERE: the Beam pipelines of a job.

    plan    list → pair → deduplicate → count words → close the plan
    write   write shards → finalize
    repair  check shards → rewrite damaged shards
    plan_layer   list rows → match rows → close the plan
    write_layer  write shards → finish

The planning pipeline writes `_build/plan/`, and the writing pipeline reads it and
writes the dataset. Both can be repeated after an interruption at any point, and they
produce the same bytes.
"""

import apache_beam as beam

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import ListTask
from beam_jobs.layers.close_layer_plan import CloseLayerPlan
from beam_jobs.layers.finish_layer import finish_layer
from beam_jobs.layers.layer_writer import LayerWriter
from beam_jobs.layers.list_rows import ListRows
from beam_jobs.layers.match_rows import MatchRows
from beam_jobs.layers.tables import TableTask
from beam_jobs.planning.close_plan import ClosePlan
from beam_jobs.planning.count_words import CountWords
from beam_jobs.planning.deduplicate import Deduplicate
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.list_sources import ListSources
from beam_jobs.planning.pair_entries import PairEntries
from beam_jobs.writing.finalize import Finalize, finalize
from beam_jobs.writing.repair import RepairShards, RepairTask
from beam_jobs.writing.shard_writer import ShardWriter
from beam_jobs.writing.write_shards import MakeWriter, WriteShards


def plan(
    root: beam.Pipeline, config: JobConfig, lease: str, tasks: list[ListTask]
) -> beam.PCollection[str]:
    """Builds the planning pipeline, which writes the plan to `_build/plan/`."""
    return (
        root
        | "Create tasks" >> beam.Create(tasks)
        | "Reshuffle" >> beam.Reshuffle()
        | "List sources" >> ListSources(config)
        | "Group by key range" >> beam.GroupByKey()
        | "Pair entries" >> PairEntries(config, lease)
        | "Deduplicate" >> Deduplicate(config, lease)
        | "Count words" >> CountWords(config)
        | "Close plan" >> ClosePlan(config, lease)
    )


def write(
    root: beam.Pipeline, config: JobConfig, job_plan: JobPlan, lease: str
) -> beam.PCollection[str]:
    """Builds the writing pipeline, which writes and publishes the dataset."""
    return (
        root
        | "Create shards" >> beam.Create(job_plan.shards())
        | "Reshuffle" >> beam.Reshuffle()
        | "Write shards" >> WriteShards(config, job_plan, lease, ShardWriter)
        | "Finalize" >> Finalize(config, job_plan, lease, finalize)
    )


def plan_layer(
    root: beam.Pipeline, config: LayerConfig, lease: str, tasks: list[TableTask]
) -> beam.PCollection[str]:
    """Builds the pipeline that plans a layer, in `_build/plan/`."""
    return (
        root
        | "Create tasks" >> beam.Create(tasks)
        | "Reshuffle" >> beam.Reshuffle()
        | "List rows" >> ListRows(config)
        | "Group by key range" >> beam.GroupByKey()
        | "Match rows" >> MatchRows(config, lease)
        | "Close plan" >> CloseLayerPlan(config, lease)
    )


def write_layer(
    root: beam.Pipeline, config: LayerConfig, job_plan: JobPlan, lease: str
) -> beam.PCollection[str]:
    """Builds the pipeline that writes and publishes a layer."""
    return (
        root
        | "Create shards" >> beam.Create(job_plan.shards())
        | "Reshuffle" >> beam.Reshuffle()
        | "Write shards" >> WriteShards(config, job_plan, lease, LayerWriter)
        | "Finish" >> Finalize(config, job_plan, lease, finish_layer)
    )


def repair(
    root: beam.Pipeline,
    config: CommonConfig,
    job_plan: JobPlan,
    lease: str,
    tasks: list[RepairTask],
    writer: MakeWriter,
) -> beam.PCollection[str]:
    """Builds the repair pipeline, which rewrites damaged shards."""
    return (
        root
        | "Create tasks" >> beam.Create(tasks)
        | "Reshuffle" >> beam.Reshuffle()
        | "Repair shards" >> RepairShards(config, job_plan, lease, writer)
    )
