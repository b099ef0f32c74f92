"""ListSources: parts of a source → what they say of each key, packed by bucket."""

from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.elements import ListTask
from beam_jobs.failures import noted
from beam_jobs.options import JobConfig
from beam_jobs.packs import pack
from beam_jobs.sources.catalogue import list_entries
from beam_jobs.workspace import Workspace


class ListSources(beam.PTransform):
    """Lists a source: `ListTask` → (bucket, pack)."""

    def __init__(self, config: JobConfig) -> None:
        """Takes the job's configuration."""
        super().__init__()
        self._config = config

    def expand(
        self, tasks: beam.PCollection[ListTask]
    ) -> beam.PCollection[tuple[int, bytes]]:
        """Lists each task in one go."""
        return tasks | "List" >> beam.ParDo(_ListSourcesFn(self._config))


class _ListSourcesFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def process(self, task: ListTask) -> Iterator[tuple[int, bytes]]:
        with noted(Workspace(self._config.output), "listing"):
            yield from pack(list_entries(task, self._config), self._config.seed)
