"""Computes a digest of all entries of a source, to detect changes in a later run.

The digest is the sum of the entries' hashes, modulo 2^256. The sum does not depend on
the order of entries and needs constant memory (AdHash: Bellare and Micciancio,
EUROCRYPT 1997).
"""

import functools
import hashlib
from collections.abc import Iterable

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Entry, SourceFile
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import inspect_each, is_remote
from beam_jobs.workspace.array_file import digest_of


def inspected(entry: Entry, files: SourceFiles) -> Entry:
    """Returns an entry with its image inspected, or with a flaw if it is missing."""
    if entry.image is None or entry.flaw is not None:
        return entry
    try:
        return entry._replace(image=files.look(entry.image))
    except BadInput as error:
        return entry._replace(flaw=(error.reason, error.detail))


def hash_of_entry(entry: Entry) -> int:
    """Returns a hash of an entry, without modification times.

    The rank is left out too, so the hash does not depend on the row order of a table.
    """
    files = [
        file and (file.path, _size_of(file), *file.place, *(file.stored or ()))
        for file in (entry.image, entry.caption)
    ]
    values = [digest_of(value) for value in entry.values or ()]
    fields = (entry.key, entry.origin, *files, entry.texts, values, entry.split)
    # Left out without names, so that listings of before names keep their digest.
    names = () if entry.names is None else (entry.names,)
    digest = hashlib.sha256(repr((*fields, entry.flaw, *names)).encode()).digest()
    return int.from_bytes(digest, "big")


def _size_of(file: SourceFile) -> int:
    """Returns a file's size, or for a cell what is known without reading it."""
    return file.size if file.cell is None else file.cell.chunk


def sum_hashes(hashes: Iterable[int]) -> str:
    """Returns the sum of hashes as 64 hex digits."""
    return f"{sum(hashes) % 2**256:064x}"


def digest_of_sources(config: JobConfig) -> str:
    """Returns the listing digest of the sources, equal to the digest of planning."""
    look = functools.partial(inspected, files=SourceFiles(config))
    entries = (
        entry
        for task in list_tasks(config)
        for entry in list_entries(task, config)
        if isinstance(entry, Entry)
    )
    remote = any(map(is_remote, config.sources))
    return sum_hashes(map(hash_of_entry, inspect_each(look, entries, remote=remote)))
