"""START HERE: the Beam pipelines of a job.

    plan    list → pair → deduplicate → count words → close the plan
    write   write shards → finalize
    repair  check shards → rewrite damaged shards

The planning pipeline writes `_build/plan/`, and the writing pipeline reads it and
writes the dataset. Both can be repeated after an interruption at any point, and they
produce the same bytes.
"""

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ListTask
from beam_jobs.planning.close_plan import ClosePlan
from beam_jobs.planning.count_words import CountWords
from beam_jobs.planning.deduplicate import Deduplicate
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.list_sources import ListSources
from beam_jobs.planning.pair_entries import PairEntries
from beam_jobs.writing.finalize import Finalize, finalize
from beam_jobs.writing.repair import RepairShards, RepairTask
from beam_jobs.writing.shard_writer import ShardWriter
from beam_jobs.writing.write_shards import WriteShards


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


def repair(
    root: beam.Pipeline,
    config: JobConfig,
    job_plan: JobPlan,
    lease: str,
    tasks: list[RepairTask],
) -> beam.PCollection[str]:
    """Builds the repair pipeline, which rewrites damaged shards of a dataset."""
    return (
        root
        | "Create tasks" >> beam.Create(tasks)
        | "Reshuffle" >> beam.Reshuffle()
        | "Repair shards" >> RepairShards(config, job_plan, lease, ShardWriter)
    )
