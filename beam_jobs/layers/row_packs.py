"""Packs of rows on disk, of which the pipeline carries only the places.

The local engine holds in memory what it shuffles. Rows of captions take ten times the
space of file names, so they wait on disk until their key range is matched.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.elements import Entry
from beam_jobs.planning.entry_packs import pack, unpack
from beam_jobs.storage.files import publish, read_file
from beam_jobs.workspace.array_file import ArrayWriter, file_of_task
from beam_jobs.workspace.workspace import Workspace


class PackPlace(NamedTuple):
    """Where a pack is.

    Attributes:
        file: Name of the file.
        offset: Byte offset of the pack in the file.
        size: Size of the pack in bytes.
    """

    file: str
    offset: int
    size: int


def write_packs(
    workspace: Workspace,
    task: object,
    entries: Iterable[Entry],
    seed: int,
    spill: ArrayWriter,
) -> Iterator[tuple[int, PackPlace]]:
    """Writes the entries of a task to disk and yields (key range, place) of each pack.

    Args:
        workspace: Workspace of the job.
        task: Part of the source that is listed.
        entries: Entries of the task.
        seed: Seed of the order of records.
        spill: Writer that long arrays are moved to.
    """
    name, offset = file_of_task(task), 0
    path = os.path.join(workspace.rows, name)
    with publish(path, workspace.tmp, durable=False) as file:
        for key_range, data in pack(entries, seed, spill):
            file.write(data)
            yield key_range, PackPlace(name, offset, len(data))
            offset += len(data)


def read_packs(workspace: Workspace, places: Iterable[PackPlace]) -> list[Entry]:
    """Returns the entries of packs."""
    packs = (
        read_file(os.path.join(workspace.rows, file), offset=offset, at_most=size)
        for file, offset, size in places
    )
    return unpack(packs).entries
