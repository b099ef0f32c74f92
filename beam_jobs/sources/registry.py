"""START HERE: the source types, and what each of them answers.

A new source type is one module that fulfills `Source`, one line in `SOURCES`, and one
field of `beam_jobs.config.job_settings.JobSettings` that names its files.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask
from beam_jobs.sources import coco, folders, imagefolder, table, webdataset


class Source(Protocol):
    """A source type; the modules of this room fulfill it.

    Attributes:
        ONE_CAPTION_PER_KEY: Whether one entry holds all captions of a key, so that two
            entries with captions make the key ambiguous.
        CAPTIONS_IN_FILES: Whether captions are files of their own, which take time to
            open; otherwise entries hold them.
    """

    ONE_CAPTION_PER_KEY: bool
    CAPTIONS_IN_FILES: bool

    def check(self, config: JobConfig) -> None:
        """Checks that the source is as the configuration says, before any work.

        Raises:
            UsageError: It is not; the message names the flag and the path.
        """

    def roots(self, config: JobConfig) -> tuple[bytes, ...]:
        """Returns the folders that paths are below; `SourceFile.root` counts them."""

    def list_tasks(self, config: JobConfig) -> list[ListTask]:
        """Returns the listing as tasks that can run side by side."""

    def list_entries(
        self, task: ListTask, config: JobConfig
    ) -> Iterator[Entry | Aside]:
        """Yields what one part of the source says of its keys."""


# By the field of JobConfig that names the source. The first field that is set decides,
# so that `images`, which most others take too, comes last.
SOURCES: Mapping[str, Source] = {
    "webdataset": webdataset,
    "coco": coco,
    "table": table,
    "captions": folders,
    "images": imagefolder,
}


def source_of(config: JobConfig) -> Source:
    """Returns the source type that a configuration names."""
    return next(
        source
        for field, source in SOURCES.items()
        if getattr(config, field) is not None
    )


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns the listing of the job's source as tasks that can run side by side.

    Raises:
        UsageError: The source is not as the configuration says.
    """
    source = source_of(config)
    source.check(config)
    return source.list_tasks(config)


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Lists one part of a source; a part of one type may be of another type."""
    return SOURCES[task.source].list_entries(task, config)
