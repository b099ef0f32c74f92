"""A digest of all that a source lists, so that a later run notices what changed.

The hashes of entries are added, modulo 2^256: the sum depends on no order, and takes no
memory (AdHash: Bellare and Micciancio, EUROCRYPT 1997).
"""

import functools
import hashlib
from collections.abc import Iterable

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Entry
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import inspect_each, is_remote
from beam_jobs.workspace.array_file import digest_of


def inspected(entry: Entry, files: SourceFiles) -> Entry:
    """Returns an entry whose image was looked at; with a flaw if it is not there."""
    if entry.image is None or entry.flaw is not None:
        return entry
    try:
        return entry._replace(image=files.look(entry.image))
    except BadInput as error:
        return entry._replace(flaw=(error.reason, error.detail))


def hash_of_entry(entry: Entry) -> int:
    """Returns a hash of all that an entry says, times of change left out.

    Where in a table it says so is left out too: sorted anew, a table is the same.
    """
    files = [
        file and (file.path, file.size, *file.place)
        for file in (entry.image, entry.caption)
    ]
    values = [digest_of(value) for value in entry.values or ()]
    said = (entry.key, entry.origin, *files, entry.texts, values, entry.split)
    digest = hashlib.sha256(repr((*said, entry.flaw)).encode()).digest()
    return int.from_bytes(digest, "big")


def sum_hashes(hashes: Iterable[int]) -> str:
    """Returns the sum of hashes as 64 hex digits."""
    return f"{sum(hashes) % 2**256:064x}"


def digest_of_sources(config: JobConfig) -> str:
    """Returns the digest that planning these sources would give."""
    look = functools.partial(inspected, files=SourceFiles(config))
    entries = (
        entry
        for task in list_tasks(config)
        for entry in list_entries(task, config)
        if isinstance(entry, Entry)
    )
    remote = any(map(is_remote, config.sources))
    return sum_hashes(map(hash_of_entry, inspect_each(look, entries, remote=remote)))
