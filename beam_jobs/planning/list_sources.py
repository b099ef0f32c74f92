"""ListSources: parts of a source → entries, packed by key range."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ListTask
from beam_jobs.planning.entry_packs import pack
from beam_jobs.sources.registry import list_entries
from beam_jobs.storage.files import publish
from beam_jobs.workspace.array_file import ArrayWriter
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
        # The name depends only on the task, so a retry overwrites the same file.
        name = f"{hashlib.sha256(repr(task).encode()).hexdigest()[:16]}.bin"
        with noted(workspace, "listing"), self._spill(workspace, name) as spill:
            entries = list_entries(task, self._config)
            yield from pack(entries, self._config.seed, spill)

    @contextlib.contextmanager
    def _spill(self, workspace: Workspace, name: str) -> Iterator[ArrayWriter]:
        if not self._config.columns_read:
            yield ArrayWriter(io.BytesIO(), name)
            return
        path = os.path.join(workspace.arrays, name)
        with publish(path, workspace.tmp, durable=False) as file:
            yield ArrayWriter(file, name)
