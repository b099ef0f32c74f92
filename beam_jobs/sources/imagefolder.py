"""Source `imagefolder` of Hugging Face: an image folder that contains tables.

The tables are named `metadata.csv`, `metadata.jsonl` or `metadata.parquet`. A table is
in the folder itself or in one of its direct subfolders. Image paths in a table are
relative to the folder of the table.
"""

import itertools
import os

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ListTask
from beam_jobs.inputs.roots import check_apart
from beam_jobs.sources import table
from beam_jobs.sources.folders import folders_in, tasks_below
from beam_jobs.storage.files import absolute, inspect_each, is_file, is_remote
from reader.contract.errors import UsageError

ONE_CAPTION_PER_KEY = table.ONE_CAPTION_PER_KEY
CAPTIONS_IN_FILES = table.CAPTIONS_IN_FILES
# The image folder.
roots = table.roots
# The tasks are image folders and tables. The source types of both list the tasks.
list_entries = table.list_entries

_NAMES = (b"metadata.csv", b"metadata.jsonl", b"metadata.parquet")


def check(config: JobConfig) -> None:
    """Checks the image folder before the job starts.

    Raises:
        UsageError: The image folder is missing, not readable, the output, or without a
            table. Or a folder has several tables, or `key_column` is set.
    """
    table.check(config)
    check_apart("images", config)
    tables: list[bytes] = []
    for folder in config.paths("images"):
        found = _tables_in(folder)
        _check_tables(folder, found)
        tables += found
    if config.key_column is not None:
        # Listing the folder yields every image with a key made from its path. These
        # keys would not match the keys from the table's column.
        flag = f"--table={os.fsdecode(tables[0])}"
        raise UsageError(f"--key_column needs --table: pass {flag}")


def _check_tables(folder: str, tables: list[bytes]) -> None:
    if not tables:
        raise UsageError(
            f"--images={folder}: no captions: pass --captions=DIR (can be the same "
            "folder), --table=FILE or --coco=FILE; the folder has no metadata.csv, "
            "metadata.jsonl or metadata.parquet either"
        )
    folders = [os.path.dirname(path) for path in tables]
    if len(set(folders)) < len(folders):
        names = ", ".join(sorted(map(os.fsdecode, tables)))
        raise UsageError(
            f"--images={folder}: several tables in one folder: pass one of these with "
            f"--table=FILE: {names}"
        )


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per image folder and one per table."""
    return [
        task
        for number, folder in enumerate(config.paths("images"))
        for task in _tasks_in(folder, number, config)
    ]


def _tasks_in(folder: str, number: int, config: JobConfig) -> list[ListTask]:
    root = absolute(os.fsencode(folder))
    tables = sorted(_tables_in(folder))
    tasks = table.tasks_of(tables, root, (number,), config)
    passed_over = tuple(task.path for task in tasks)
    return [*tasks_below(root, {"image": number}, config, passed_over), *tasks]


def _tables_in(folder: str) -> list[bytes]:
    root = absolute(os.fsencode(folder))
    inside = [name for name in folders_in(root) if not name.startswith(b".")]
    places = (root, *(os.path.join(root, name) for name in inside))
    paths = [os.path.join(place, name) for place in places for name in _NAMES]
    found = inspect_each(is_file, paths, remote=is_remote(root))
    return list(itertools.compress(paths, found))
