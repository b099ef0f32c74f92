"""START HERE: the job, as two linear pipelines and what holds them together.

    plan    list → pair → compare contents → count the vocabulary → close the plan
    write   shards → write each → finalise

Between the two lies `_build/plan/`; after them, the dataset. Both may run again after
being cut off anywhere, and end in the same bytes.
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
from beam_jobs.writing.finalize import Finalize
from beam_jobs.writing.repair import (
    RepairShards,
    RepairTask,
)
from beam_jobs.writing.write_shards import WriteShards


def plan(
    root: beam.Pipeline, config: JobConfig, lease: str, tasks: list[ListTask]
) -> beam.PCollection[str]:
    """Wires the planning pipeline; it leaves the plan in `_build/plan/`."""
    return (
        root
        | "Name parts" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "List sources" >> ListSources(config)
        | "Group by bucket" >> beam.GroupByKey()
        | "Pair files" >> PairEntries(config, lease)
        | "Compare contents" >> Deduplicate(config, lease)
        | "Count tokens" >> CountWords(config)
        | "Close plan" >> ClosePlan(config, lease)
    )


def write(
    root: beam.Pipeline, config: JobConfig, job_plan: JobPlan, lease: str
) -> beam.PCollection[str]:
    """Wires the writing pipeline; it leaves the dataset."""
    return (
        root
        | "Name shards" >> beam.Create(job_plan.shards())
        | "Spread" >> beam.Reshuffle()
        | "Write shards" >> WriteShards(config, job_plan, lease)
        | "Finalise" >> Finalize(config, job_plan, lease)
    )


def repair(
    root: beam.Pipeline,
    config: JobConfig,
    job_plan: JobPlan,
    lease: str,
    tasks: list[RepairTask],
) -> beam.PCollection[str]:
    """Wires the mending pipeline; it leaves a dataset whose shards are whole."""
    return (
        root
        | "Name shards" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "Mend shards" >> RepairShards(config, job_plan, lease)
    )
