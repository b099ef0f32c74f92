"""Source `table`: rows that name an image and hold its captions.

Several rows of one key, or a list in one row, are several captions.
"""

import os
from collections.abc import Iterator, Sequence

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask
from beam_jobs.sources.roots import (
    check_folder,
    common_folder,
    files_named,
    with_allowed,
)
from beam_jobs.sources.row_entries import entry_of_row
from beam_jobs.sources.table_rows import check_names_files, column_names, read_rows
from beam_jobs.storage.files import absolute
from reader.contract.errors import UsageError

ONE_CAPTION_PER_KEY = False
CAPTIONS_IN_FILES = False

# Names that others use, for which no flag is needed.
IMAGE_COLUMNS = ("file_name", "image", "image_path", "filename", "filepath", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "title")


def check(config: JobConfig) -> None:
    """Checks tables and folders, before any work.

    Raises:
        UsageError: One is missing, or not as the configuration says.
    """
    if config.images is not None:
        check_folder("images", config.images, config.output)
    for root in config.allow_roots:
        check_folder("allow_roots", root, config.output)


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the folder of images or of the tables, and those allowed besides."""
    if config.images is not None:
        return with_allowed(os.fsencode(config.images), config)
    return with_allowed(common_folder(files_named("table", str(config.table))), config)


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns a task for each table.

    Raises:
        UsageError: A table has no column of that name.
    """
    paths = files_named("table", str(config.table))
    return tasks_of(paths, common_folder(paths), config)


def tasks_of(paths: Sequence[bytes], root: bytes, config: JobConfig) -> list[ListTask]:
    """Returns a task for each table, its columns found."""
    return [_task_of(absolute(path), root, config) for path in paths]


def _task_of(path: bytes, root: bytes, config: JobConfig) -> ListTask:
    names = column_names(path, config.caption_encoding)
    for name in (config.key_column, config.split_column):
        if name is not None and name not in names:
            raise UsageError(_no_column(path, name, names))
    for column in config.columns:
        if column.name not in names:
            raise UsageError(_no_column(path, column.name, names))
    image_column = _column(
        "image_column", config.image_column, IMAGE_COLUMNS, names, path
    )
    check_names_files(path, image_column)
    return ListTask(
        source="table",
        root=root,
        path=os.path.relpath(path, root),
        image_column=image_column,
        caption_column=_column(
            "caption_column", config.caption_column, CAPTION_COLUMNS, names, path
        ),
    )


def _column(
    flag: str, asked: str | None, usual: Sequence[str], names: list[str], path: bytes
) -> str:
    """Returns the one column that is meant."""
    if asked is not None:
        if asked not in names:
            raise UsageError(_no_column(path, asked, names))
        return asked
    found = [name for name in usual if name in names]
    if len(found) != 1:
        several = f"several may be meant ({', '.join(found)})" if found else "none of "
        raise UsageError(
            f"{os.fsdecode(path)}: "
            + (several if found else f"{several}{', '.join(usual)} is a column")
            + f": say --{flag}=NAME, one of {', '.join(names)}"
        )
    return found[0]


def _no_column(path: bytes, name: str, names: list[str]) -> str:
    return f'{os.fsdecode(path)}: no column "{name}" among {", ".join(names)}'


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Lists one table, row by row."""
    # The task knows its root: no need to look for all tables again for each of them.
    first = task.root if config.images is None else os.fsencode(config.images)
    roots = with_allowed(first, config)
    columns = {task.image_column, task.caption_column}
    columns |= {column.name for column in config.columns}
    columns |= {name for name in (config.key_column, config.split_column) if name}
    # Names are below --images if it is given with a table, else beside the table.
    beside = config.images is None or config.table is None
    folder = os.path.dirname(task.path) if beside else b""
    path = os.path.join(task.root, task.path)
    for row in read_rows(path, sorted(columns), config.caption_encoding):
        yield entry_of_row(row, task, folder, roots, config)
