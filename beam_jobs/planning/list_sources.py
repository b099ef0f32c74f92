"""ListSources: parts of a source → entries, packed by key range."""

from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ListTask
from beam_jobs.planning.entry_packs import pack
from beam_jobs.sources.registry import list_entries
from beam_jobs.workspace.array_file import array_writer
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace


class ListSources(beam.PTransform):
    """Lists the entries of a source: `ListTask` → (key range, pack)."""

    def __init__(self, config: JobConfig) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
        """
        super().__init__()
        self._config = config

    def expand(
        self, tasks: beam.PCollection[ListTask]
    ) -> beam.PCollection[tuple[int, bytes]]:
        """Lists the entries of each task."""
        return tasks | "List" >> beam.ParDo(_ListSourcesFn(self._config))


class _ListSourcesFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def process(self, task: ListTask) -> Iterator[tuple[int, bytes]]:
        workspace = Workspace(self._config.output)
        columns = self._config.columns_read
        with (
            noted(workspace, "listing"),
            array_writer(workspace, task, columns) as spill,
        ):
            entries = list_entries(task, self._config)
            yield from pack(entries, self._config.seed, spill)
