"""A source folder in a bucket: what is listed of it by prefix.

Buckets have no links, no loops and nothing that is no regular file.
"""

import os
from collections.abc import Iterator

from beam_jobs.elements import Aside, SourceFile
from beam_jobs.storage.files import scan


def folders_in(root: bytes) -> list[bytes]:
    """Returns the names of the folders in a folder, sorted."""
    found = scan(root)
    return sorted(os.fsencode(one.name) for one in found if one.status is None)


def files_below(
    root: bytes, path: bytes, *, deep: bool, passed_over: tuple[bytes, ...]
) -> Iterator[SourceFile | Aside]:
    """Yields the files in a folder, or below it; hidden ones and folders as ignored."""
    hidden: set[bytes] = set()
    for listed in scan(os.path.join(root, path), deep=deep):
        if listed.status is None:
            continue
        below = os.path.join(path, os.fsencode(listed.name))
        if _is_within(os.path.join(root, below), passed_over):
            continue
        topmost = _hidden_part(below)
        if topmost is None:
            yield SourceFile(below, *listed.status)
        elif topmost not in hidden:
            hidden.add(topmost)
            yield Aside("ignored", topmost, "hidden")


def _is_within(path: bytes, folders: tuple[bytes, ...]) -> bool:
    return any(path == folder or path.startswith(folder + b"/") for folder in folders)


def _hidden_part(path: bytes) -> bytes | None:
    """Returns a path up to its first part that begins with a dot, if there is one."""
    parts = path.split(b"/")
    for depth, part in enumerate(parts, 1):
        if part.startswith(b"."):
            return b"/".join(parts[:depth])
    return None
