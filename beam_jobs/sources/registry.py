"""All kinds of source: which one a configuration means, and how each is listed."""

from collections.abc import Iterator
from types import ModuleType

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask
from beam_jobs.sources import coco, folders, imagefolder, table, webdataset

# By what a task lists.
_LISTERS = {
    "folder": folders.list_entries,
    "table": table.list_entries,
    "coco": coco.list_entries,
    "tar": webdataset.list_entries,
}


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns the listing of the job's source as tasks that can run side by side.

    Raises:
        UsageError: The source is not as the configuration says.
    """
    source = _source_of(config)
    source.check(config)
    tasks: list[ListTask] = source.list_tasks(config)
    return tasks


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Lists one part of a source."""
    return _LISTERS[task.kind](task, config)


def _source_of(config: JobConfig) -> ModuleType:
    if config.webdataset is not None:
        return webdataset
    if config.coco is not None:
        return coco
    if config.table is not None:
        return table
    return imagefolder if config.captions is None else folders
