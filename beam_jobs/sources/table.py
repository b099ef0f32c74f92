"""Source `table`: each row has an image path, or an image, and its captions.

A key has several captions if it has several rows, or if a row has a list of captions.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from functools import partial

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask
from beam_jobs.inputs.roots import (
    check_folders,
    common_folder,
    files_named,
    refuse_options,
    with_allowed,
)
from beam_jobs.inputs.table_rows import (
    TextFormat,
    check_types,
    column_names,
    images_column,
    read_rows,
)
from beam_jobs.sources.image_cells import images_in
from beam_jobs.sources.row_entries import ImageOf, entry_of_row, image_named
from beam_jobs.storage.files import absolute
from reader.contract.errors import UsageError

ONE_CAPTION_PER_KEY = False
CAPTIONS_IN_FILES = False

# Common column names, which are found without a flag.
IMAGE_COLUMNS = ("file_name", "image", "image_path", "filename", "filepath", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "title")


def check(config: JobConfig) -> None:
    """Checks the image folder and the allowed roots before the job starts.

    Raises:
        UsageError: A path is missing, not a folder, not readable, or the output; or
            `caption_files` is set.
    """
    instead = "pass caption_columns, or the folder of the files with captions"
    refuse_options(config, "tables", "caption_files", instead=instead)
    check_folders("images", config)
    check_folders("allow_roots", config)


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the folders of images or tables, followed by the allowed roots."""
    if config.images is not None:
        return with_allowed(config.paths("images"), config)
    return with_allowed([common_folder(files_named("table", config))], config)


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per table.

    Raises:
        UsageError: A table is missing, or lacks a required column.
    """
    paths = files_named("table", config)
    roots = tuple(range(len(config.paths("images")))) or (0,)
    return tasks_of(paths, common_folder(paths), roots, config)


def tasks_of(
    paths: Sequence[bytes], root: bytes, roots: tuple[int, ...], config: JobConfig
) -> list[ListTask]:
    """Returns one task per table, with the names of the image and caption columns.

    Args:
        paths: Paths of the tables.
        root: Absolute path of a folder that contains all tables.
        roots: Indices of the roots that image names are relative to.
        config: Configuration of the job.

    Raises:
        UsageError: A table lacks a required column.
    """
    tasks = [_task_of(absolute(path), root, config, roots) for path in paths]
    _check_somewhere(paths, tasks, config)
    return tasks


def _check_somewhere(
    paths: Sequence[bytes], tasks: Sequence[ListTask], config: JobConfig
) -> None:
    """Checks that each column of captions with a name is in one of the tables."""
    found = {column for task in tasks for column in task.caption_columns}
    for column in config.caption_columns:
        if column not in found:
            names = (
                column_names(absolute(path), text_format(config)) for path in paths
            )
            known = dict.fromkeys(itertools.chain.from_iterable(names))
            raise no_column(paths[0], column, [*known])


def _task_of(
    path: bytes, root: bytes, config: JobConfig, roots: tuple[int, ...]
) -> ListTask:
    names = column_names(path, text_format(config))
    others = _other_columns(config)
    for name in others:
        if name not in names:
            raise no_column(path, name, names)
    image_column = column_named(
        "image_column", config.image_column, IMAGE_COLUMNS, names, path
    )
    several = tuple(name for name in config.caption_columns if name in names)
    caption_column = ""
    if not config.caption_columns:
        caption_column = column_named(
            "caption_column", config.caption_column, CAPTION_COLUMNS, names, path
        )
    captions = several if config.caption_columns else (caption_column,)
    images = images_column(path, image_column)
    check_types(path, None if images else image_column, captions, others)
    if images and config.images is not None:
        raise UsageError(
            f"{os.fsdecode(path)}: column {image_column} holds images, not the names "
            "of files: leave out --images"
            + ("" if config.table else f" and pass --table={os.fsdecode(path)}")
        )
    return ListTask(
        source="table",
        root=root,
        path=os.path.relpath(path, root),
        roots=roots,
        image_column=image_column,
        caption_column=caption_column,
        caption_columns=several,
        image_bytes=images.data if images else "",
    )


def text_format(config: CommonConfig) -> TextFormat:
    """Returns how the text of the job's tables is read."""
    return TextFormat(
        config.caption_encoding, config.table_delimiter, config.table_quoting
    )


def _other_columns(config: JobConfig) -> list[str]:
    """Returns the names of columns that are neither images nor captions."""
    names = (config.key_column, config.split_column)
    return [
        *(name for name in names if name is not None),
        *(column.name for column in config.columns_read),
    ]


def column_named(
    flag: str, chosen: str | None, common: Sequence[str], names: list[str], path: bytes
) -> str:
    """Returns the chosen column, or the only column with a common name.

    Args:
        flag: Name of the flag that chooses the column.
        chosen: Chosen column, or None.
        common: Names to look for if none is chosen.
        names: All columns of the table.
        path: Path of the table.

    Raises:
        UsageError: The table has no such column, or several.
    """
    if chosen is not None:
        if chosen not in names:
            raise no_column(path, chosen, names)
        return chosen
    found = [name for name in common if name in names]
    if len(found) != 1:
        several = f"several columns match ({', '.join(found)})"
        missing = f"no column is named {', '.join(common[:-1])} or {common[-1]}"
        raise UsageError(
            f"{os.fsdecode(path)}: "
            + (several if found else missing)
            + f": pass --{flag}=NAME, one of {', '.join(names)}"
        )
    return found[0]


def no_column(path: bytes, name: str, names: list[str]) -> UsageError:
    """Returns the error for a column that a table does not have."""
    return UsageError(
        f'{os.fsdecode(path)}: no column "{name}" among {", ".join(names)}'
    )


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one table, one per row."""
    columns = {task.image_column, *task.caption_columns, *_other_columns(config)}
    columns |= {task.caption_column} - {""}
    image_of = images_in(task, config) if task.image_bytes else _by_name(task, config)
    path = os.path.join(task.root, task.path)
    rows = read_rows(path, sorted(columns), text_format(config), task.image_column)
    for row in rows:
        yield entry_of_row(row, task, image_of, config)


def _by_name(task: ListTask, config: JobConfig) -> ImageOf:
    """Returns the function that finds the image that a cell names."""
    # The root of the task saves finding all tables again for each table.
    roots = with_allowed(config.paths("images") or [task.root], config)
    # With both --images and --table, image paths are relative to --images. Otherwise
    # they are relative to the folder of the table.
    by_table = config.images is None or config.table is None
    folder = os.path.dirname(task.path) if by_table else b""
    return partial(image_named, folder=folder, roots=roots, bases=task.roots)
