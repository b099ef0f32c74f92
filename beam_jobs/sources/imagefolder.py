"""Source `imagefolder` of Hugging Face: a folder of images with tables in it.

The tables are called `metadata.csv`, `.jsonl` or `.parquet` and lie in the folder or in
a folder in it; names in a table are below the table's own folder.
"""

import os
from collections.abc import Iterator

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ListTask
from beam_jobs.sources import table
from beam_jobs.sources.folders import folders_in, tasks_below
from beam_jobs.sources.roots import check_folder
from beam_jobs.storage.files import absolute, is_file
from reader.contract.errors import UsageError

ONE_CAPTION_PER_KEY = table.ONE_CAPTION_PER_KEY
CAPTIONS_IN_FILES = table.CAPTIONS_IN_FILES
# The folder of images.
roots = table.roots
# Its parts are folders of images and tables, which those types list.
list_entries = table.list_entries

_NAMES = (b"metadata.csv", b"metadata.jsonl", b"metadata.parquet")


def check(config: JobConfig) -> None:
    """Checks the folder, before any work.

    Raises:
        UsageError: It is missing, or has no table.
    """
    table.check(config)
    folder = str(config.images)
    check_folder("images", folder, config.output)
    tables = list(_tables_in(folder))
    if not tables:
        raise UsageError(
            f"--images={folder}: no captions: say --captions=DIR (it may be the same "
            "folder), --table=FILE or --coco=FILE; there is no metadata.csv, .jsonl or "
            ".parquet in it either"
        )
    beside = [os.path.dirname(path) for path in tables]
    if len(set(beside)) < len(beside):
        names = ", ".join(sorted(map(os.fsdecode, tables)))
        raise UsageError(f"--images={folder}: say which with --table=FILE: {names}")
    if config.key_column is not None:
        # An image that no row names has no key but its name, and so would all others.
        table_named = f"--table={os.fsdecode(tables[0])}"
        raise UsageError(f"key_column needs a named table: say {table_named}")


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns a task for each folder of images, and one for each table."""
    root = absolute(os.fsencode(str(config.images)))
    tables = sorted(_tables_in(str(config.images)))
    tasks = table.tasks_of(tables, root, config)
    passed_over = tuple(task.path for task in tasks)
    return [*tasks_below(root, ("image",), config, passed_over), *tasks]


def _tables_in(folder: str) -> Iterator[bytes]:
    root = absolute(os.fsencode(folder))
    inside = [name for name in folders_in(root) if not name.startswith(b".")]
    for place in (root, *(os.path.join(root, name) for name in inside)):
        for name in _NAMES:
            path = os.path.join(place, name)
            if is_file(path):
                yield path
