"""START HERE: registers the source types and defines their protocol.

To add a source type, write a module that implements `Source`, add a line to `SOURCES`,
and add a field for its files to `beam_jobs.config.job_settings.JobSettings`.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask
from beam_jobs.sources import coco, dataset, folders, imagefolder, table, webdataset


class Source(Protocol):
    """Protocol of a source type, implemented by modules of this package.

    Attributes:
        ONE_CAPTION_PER_KEY: Whether a single entry contains all captions of a key. If
            true, two entries with captions make the key ambiguous.
        CAPTIONS_IN_FILES: Whether captions are in separate files, which take time to
            open. If false, entries contain the captions.
    """

    ONE_CAPTION_PER_KEY: bool
    CAPTIONS_IN_FILES: bool

    def check(self, config: JobConfig) -> None:
        """Checks the source against the configuration before the job starts.

        A source type also rejects the options that it does not support; see
        `beam_jobs.inputs.roots.refuse_columns`.

        Raises:
            UsageError: The source does not match the configuration. The message names
                the flag and the path.
        """

    def roots(self, config: JobConfig) -> tuple[bytes, ...]:
        """Returns the root folders. `SourceFile.root` is an index into the result."""

    def list_tasks(self, config: JobConfig) -> list[ListTask]:
        """Returns the parts of the source as tasks that can run concurrently."""

    def list_entries(
        self, task: ListTask, config: JobConfig
    ) -> Iterator[Entry | Aside]:
        """Yields the entries of one part of the source."""


# Maps a field of JobConfig to its source type. The first field that is set selects the
# source type. `images` is last, because most other source types use that field too.
SOURCES: Mapping[str, Source] = {
    "webdataset": webdataset,
    "dataset": dataset,
    "coco": coco,
    "table": table,
    "captions": folders,
    "images": imagefolder,
}


def source_of(config: JobConfig) -> Source:
    """Returns the source type selected by a configuration."""
    return next(
        source
        for field, source in SOURCES.items()
        if getattr(config, field) is not None
    )


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Checks the job's source and returns its parts as tasks.

    The tasks can run concurrently.

    Raises:
        UsageError: The source does not match the configuration.
    """
    source = source_of(config)
    source.check(config)
    return source.list_tasks(config)


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one part of a source.

    The source type of the task lists the part. The source type of the job can differ:
    `imagefolder` creates tasks for `folders` and `table`.
    """
    return SOURCES[task.source].list_entries(task, config)
