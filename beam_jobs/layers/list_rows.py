"""ListRows: tables → packs of their rows, by key range."""

from collections.abc import Iterator

import apache_beam as beam

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.layers.row_packs import PackPlace, write_packs
from beam_jobs.layers.tables import TableTask, table_entries
from beam_jobs.workspace.array_file import array_writer
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace


class ListRows(beam.PTransform):
    """Lists the rows of tables: `TableTask` → (key range, place of a pack)."""

    def __init__(self, config: LayerConfig) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the layer.
        """
        super().__init__()
        self._config = config

    def expand(
        self, tasks: beam.PCollection[TableTask]
    ) -> beam.PCollection[tuple[int, PackPlace]]:
        """Lists the rows of each table."""
        return tasks | "List" >> beam.ParDo(_ListRowsFn(self._config))


class _ListRowsFn(beam.DoFn):
    def __init__(self, config: LayerConfig) -> None:
        self._config = config

    def process(self, task: TableTask) -> Iterator[tuple[int, PackPlace]]:
        config, workspace = self._config, Workspace(self._config.output)
        with (
            noted(workspace, "listing"),
            array_writer(workspace, task, config.columns) as spill,
        ):
            entries = table_entries(task, config)
            yield from write_packs(workspace, task, entries, config.seed, spill)
