"""Source `folders`: images in one folder, captions in another or the same.

Files are found at any depth; symbolic links are followed. An image and a caption belong
together if their paths below their roots are equal but for the last suffix.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from beam_jobs.elements import ListTask
from beam_jobs.options import JobConfig
from reader.contract.errors import UsageError

_IMAGES = "jpg jpeg png webp gif bmp tif tiff avif"
_CAPTIONS = "txt caption"
SUFFIXES = {
    f".{suffix}".encode(): kind
    for kind, suffixes in (("image", _IMAGES), ("caption", _CAPTIONS))
    for suffix in suffixes.split()
}

_BOTH = ("image", "caption")

# A link to what is not there, to itself, to below a file, to a name that cannot be.
_LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


class Listed(NamedTuple):
    """One entry of a source folder.

    Attributes:
        kind: `image`, `caption`, `not_a_file`, `ignored` or `loop`.
        path: Below the root.
        size: In bytes.
        mtime_ns: Time of its last change.
    """

    kind: str
    path: bytes
    size: int = 0
    mtime_ns: int = 0


def check_roots(config: JobConfig) -> None:
    """Checks that the folders are there, before any work.

    Raises:
        UsageError: One is missing, no folder, not to be read, or is the output.
    """
    for flag, root in (("images", config.images), ("captions", config.captions)):
        if not os.path.exists(root):
            raise UsageError(f"--{flag}={root}: no such folder")
        if not os.path.isdir(root):
            raise UsageError(f"--{flag}={root}: not a folder")
        if not os.access(root, os.R_OK | os.X_OK, effective_ids=True):
            raise UsageError(f"--{flag}={root}: no permission to read this folder")
        if os.path.realpath(root) == os.path.realpath(config.output):
            raise UsageError(
                f"--output={config.output} is the folder of {flag} itself: choose "
                "another, such as a new folder in it"
            )


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns the listing as tasks that can run side by side: a folder each."""
    images, captions = os.fsencode(config.images), os.fsencode(config.captions)
    if os.path.realpath(images) == os.path.realpath(captions):
        return _tasks_below(images, _BOTH, config)
    return [
        *_tasks_below(images, ("image",), config),
        *_tasks_below(captions, ("caption",), config),
    ]


def _tasks_below(
    root: bytes, kinds: tuple[str, ...], config: JobConfig
) -> list[ListTask]:
    skip = os.fsencode(os.path.realpath(config.output))
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if _is_folder(entry))
    return [
        ListTask(root, b"", False, kinds, skip),
        *(ListTask(root, folder, True, kinds, skip) for folder in folders),
    ]


def list_files(task: ListTask) -> Iterator[Listed]:
    """Lists one part of a source folder.

    Hidden files and folders (their names begin with a dot) are ignored, and counted so.
    """
    root = os.path.realpath(task.root)
    yield from _walk(task, task.path, _ancestry(root, task.path))


def _ancestry(root: bytes, path: bytes) -> tuple[bytes, ...]:
    parts = path.split(b"/") if path else []
    above = [os.path.join(root, *parts[:depth]) for depth in range(len(parts))]
    return tuple(os.path.realpath(folder) for folder in above)


def _walk(
    task: ListTask, path: bytes, ancestors: tuple[bytes, ...]
) -> Iterator[Listed]:
    folder = os.path.realpath(os.path.join(task.root, path))
    if folder == task.skip:
        return
    if path and os.path.basename(path).startswith(b"."):
        yield Listed("ignored", path)
        return
    if folder in ancestors:
        yield Listed("loop", path)
        return
    with os.scandir(os.path.join(task.root, path)) as entries:
        for entry in entries:
            below = os.path.join(path, entry.name)
            if not _is_folder(entry):
                yield _listed(task, entry, below)
            elif task.recursive:
                yield from _walk(task, below, (*ancestors, folder))


def _listed(task: ListTask, entry: os.DirEntry[bytes], path: bytes) -> Listed:
    kind = SUFFIXES.get(os.path.splitext(entry.name)[1].lower())
    if kind not in task.kinds or entry.name.startswith(b"."):
        return Listed("ignored", path)
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in _LEADS_NOWHERE:
            raise
        return Listed("not_a_file", path)
    # Opening a pipe would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        return Listed("not_a_file", path)
    return Listed(str(kind), path, status.st_size, status.st_mtime_ns)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in _LEADS_NOWHERE:
            raise
        return False


def key_of(path: bytes) -> bytes:
    """Returns the key of a path below its root: without its last suffix, in NFC.

    >>> key_of(b"park/a.b.jpg")
    b'park/a.b'
    """
    key = os.path.splitext(path)[0]
    if key.isascii():
        return key
    try:
        return unicodedata.normalize("NFC", key.decode()).encode()
    except UnicodeDecodeError:
        return key


def ignored_as(path: bytes) -> str:
    """Returns what an ignored file is counted under: its suffix, `hidden` or `none`."""
    name = os.path.basename(path)
    if name.startswith(b"."):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    return suffix.decode("utf-8", errors="replace") if suffix else "none"
