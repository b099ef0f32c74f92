"""The tables of a layer: which they are, and the entries of their rows."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import BadInput, Entry
from beam_jobs.inputs.roots import common_folder, files_named
from beam_jobs.inputs.table_rows import Row, check_types, column_names, read_rows
from beam_jobs.sources.listing_digest import hash_of_entry, sum_hashes
from beam_jobs.sources.row_entries import key_in, lack_of, texts_of, values_of
from beam_jobs.sources.table import column_named, no_column, text_format
from beam_jobs.storage.files import absolute
from reader.contract import samples, schema

# Common names of the column of keys, which are found without a flag: those of our own
# tables and records, and that of WebDataset.
KEY_COLUMNS = (samples.KEY, schema.KEY, "__key__")


class TableTask(NamedTuple):
    """A table to list.

    Attributes:
        root: Absolute path of a folder that contains all tables.
        path: Path of the table, relative to the root.
        key_column: Name of the column of keys.
    """

    root: bytes
    path: bytes
    key_column: str


def table_tasks(config: LayerConfig) -> list[TableTask]:
    """Returns one task per table.

    Raises:
        UsageError: A table is missing, or lacks a column.
    """
    if config.table is None:
        return []
    paths = [absolute(path) for path in files_named("table", config)]
    root = common_folder(paths)
    return [_task_of(path, root, config) for path in paths]


def _task_of(path: bytes, root: bytes, config: LayerConfig) -> TableTask:
    names = column_names(path, text_format(config))
    key = column_named("key_column", config.key_column, KEY_COLUMNS, names, path)
    for name in _columns_of(config):
        if name not in names:
            raise no_column(path, name, names)
    columns = [column.name for column in config.columns]
    captions = [] if config.caption_column is None else [config.caption_column]
    check_types(path, None, captions, [key, *columns])
    return TableTask(root, os.path.relpath(path, root), key)


def _columns_of(config: LayerConfig) -> list[str]:
    """Returns the names of all columns but that of keys."""
    columns = [column.name for column in config.columns]
    return (
        columns if config.caption_column is None else [config.caption_column, *columns]
    )


def table_entries(task: TableTask, config: LayerConfig) -> Iterator[Entry]:
    """Yields the entries of one table, one per row."""
    columns = {task.key_column, *_columns_of(config)}
    path = os.path.join(task.root, task.path)
    for row in read_rows(path, sorted(columns), text_format(config)):
        yield _entry_of(row, task, config)


def _entry_of(row: Row, task: TableTask, config: LayerConfig) -> Entry:
    # A row without a key gets its own, so that the accounting counts the row.
    entry = Entry(b"%b:%d" % (task.path, row.number), task.path)
    if row.wrong is not None:
        return entry._replace(flaw=("bad_row", row.wrong))
    cells = row.cells
    try:
        entry = entry._replace(key=key_in(cells, task.key_column))
        if (column := config.caption_column) is not None:
            texts = texts_of(cells.get(column))
            lacks = None if texts else lack_of(cells, column)
            entry = entry._replace(texts=texts, lacks=lacks)
        return entry._replace(values=values_of(cells, config.columns))
    except BadInput as error:
        return entry._replace(texts=None, flaw=(error.reason, error.detail))


def digest_of_tables(config: LayerConfig) -> str:
    """Returns the digest of all rows, equal to the digest of planning."""
    return sum_hashes(
        hash_of_entry(entry)
        for task in table_tasks(config)
        for entry in table_entries(task, config)
    )
