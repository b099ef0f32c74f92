"""Source `folders`: images in one folder, captions in another or the same folder.

Subfolders are listed at any depth, and symbolic links are followed. An image and a
caption form a pair if their relative paths are equal except for the last suffix.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask, SourceFile
from beam_jobs.inputs.paths import composed, key_of
from beam_jobs.inputs.roots import (
    check_apart,
    check_folders,
    refuse_columns,
    refuse_options,
)
from beam_jobs.storage.files import is_remote, real_path, scan
from beam_jobs.storage.name_ranges import ranges_between
from beam_jobs.storage.wide_scan import (
    AT_A_TIME,
    bounds_in,
    can_list_ranges,
    scan_ranges,
    scan_subfolders,
)
from reader.contract.errors import UsageError

_IMAGES = "jpg jpeg jpe jfif png webp gif bmp tif tiff avif heic heif"
_CAPTIONS = "txt caption"
SUFFIXES = {
    f".{suffix}".encode(): kind
    for kind, suffixes in (("image", _IMAGES), ("caption", _CAPTIONS))
    for suffix in suffixes.split()
}

ONE_CAPTION_PER_KEY = True
CAPTIONS_IN_FILES = True

_Part = TypeVar("_Part")

# Errors of a link to a missing file, to itself, to a path below a file, or to a name
# that is too long.
LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


def check(config: JobConfig) -> None:
    """Checks the image and caption folders before the job starts.

    Raises:
        UsageError: A path is missing, not a folder, not readable, or the output; or
            columns are requested, which folders do not have; or a suffix of caption
            files is that of images.
    """
    refuse_columns(config, "a folder of captions")
    options = ("caption_columns", "caption_names")
    refuse_options(config, "folders", *options, instead="pass caption_files")
    check_suffixes(config)
    for flag in ("images", "captions"):
        check_folders(flag, config)
        check_apart(flag, config)


def check_suffixes(config: JobConfig) -> None:
    """Checks that no suffix of `caption_files` is that of images.

    Raises:
        UsageError: A suffix is.
    """
    for suffix in config.caption_files.values():
        if kind_of(f"a{suffix}".encode()) == "image":
            raise UsageError(
                f"caption_files has the suffix {suffix}, which is one of images"
            )


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the image folders, followed by the caption folders."""
    paths = (*config.paths("images"), *config.paths("captions"))
    return tuple(map(os.fsencode, paths))


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per top-level folder, and one for the files in the root.

    A folder in a bucket has tasks for ranges of names instead, or for several folders.
    """
    kinds = ["image"] * len(config.paths("images"))
    kinds += ["caption"] * len(config.paths("captions"))
    # A folder of both images and captions is listed once.
    folders: dict[bytes, tuple[bytes, dict[str, int]]] = {}
    for number, (kind, root) in enumerate(zip(kinds, roots(config), strict=True)):
        _, numbers = folders.setdefault(real_path(root), (root, {}))
        numbers[kind] = number
    return [
        task
        for root, numbers in folders.values()
        for task in tasks_below(root, numbers, config)
    ]


def tasks_below(
    root: bytes,
    numbers: Mapping[str, int],
    config: JobConfig,
    passed_over: tuple[bytes, ...] = (),
) -> list[ListTask]:
    """Returns one task per folder in a root, and one for the files in the root.

    A root in a bucket has tasks for ranges of names instead, or for several folders.

    Args:
        root: Path of the root folder.
        numbers: Kinds of files to list, `image`, `caption` or both, each with the index
            of the root in the source's `roots`.
        config: Configuration of the job. Its output is skipped.
        passed_over: Other paths to skip.
    """
    passed_over += (os.fsencode(real_path(config.output)),)
    whole = ListTask(
        source="captions",
        root=root,
        path=b"",
        roots=tuple(numbers.values()),
        suffixes=tuple(numbers),
        passed_over=passed_over,
    )
    if can_list_ranges(os.fsdecode(root)):
        return _tasks_of_ranges(whole)
    folders = folders_in(root)
    if is_remote(root):
        return [whole, *_tasks_of_folders(whole, list(map(os.fsdecode, folders)))]
    return [whole, *(whole._replace(path=name, recursive=True) for name in folders)]


def folders_in(root: bytes) -> list[bytes]:
    """Returns the sorted names of the subfolders, links to folders included."""
    if is_remote(root):
        return _folders_in_bucket(root)
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry))


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one part of a source folder.

    Hidden files and folders, whose names begin with a dot, are ignored and counted.
    """
    parse = _Parser(config.caption_files)
    if is_remote(task.root):
        yield from _objects_of(task, parse)
        return
    root = os.path.realpath(task.root)
    yield from _walk(task, task.path, _ancestry(root, task.path), parse)


class _Parsed(NamedTuple):
    """What the name of a file says of it.

    Attributes:
        kind: `image`, `caption` or None.
        key: Key that the file belongs to.
        names: The name of its captions; None if they have none.
    """

    kind: str | None
    key: bytes
    names: tuple[str] | None = None


class _Parser:
    """Parses paths, by the suffixes of caption files that have names."""

    def __init__(self, caption_files: Mapping[str, str]) -> None:
        """Takes `{name: suffix}`; without any, captions have no names."""
        # `a.recap.txt` ends with `.txt` too.
        self._named = sorted(
            ((suffix.lower().encode(), name) for name, suffix in caption_files.items()),
            key=lambda named: -len(named[0]),
        )

    def __call__(self, path: bytes) -> _Parsed:
        lower = path.lower()
        for suffix, name in self._named:
            if lower.endswith(suffix):
                key = composed(path[: -len(suffix)])
                return _Parsed("caption", key, (name,))
        kind = kind_of(path)
        if self._named and kind == "caption":
            kind = None
        return _Parsed(kind, key_of(path))


def _objects_of(task: ListTask, parse: _Parser) -> Iterator[Entry | Aside]:
    for file in _files_in_bucket(task):
        if isinstance(file, Aside):
            yield file
            continue
        parsed = parse(file.path)
        if parsed.kind in task.suffixes:
            yield _entry_of(task, file, parsed)
        else:
            yield Aside("ignored", file.path, ignored_as(file.path))


def _ancestry(root: bytes, path: bytes) -> tuple[bytes, ...]:
    parts = path.split(b"/") if path else []
    above = [os.path.join(root, *parts[:depth]) for depth in range(len(parts))]
    return tuple(os.path.realpath(folder) for folder in above)


def _walk(
    task: ListTask, path: bytes, ancestors: tuple[bytes, ...], parse: _Parser
) -> Iterator[Entry | Aside]:
    folder = os.path.realpath(os.path.join(task.root, path))
    if folder in task.passed_over:
        return
    if path and os.path.basename(path).startswith(b"."):
        yield Aside("ignored", path, ignored_as(path))
        return
    if folder in ancestors:
        yield Aside("loop", path)
        return
    with os.scandir(os.path.join(task.root, path)) as entries:
        for entry in entries:
            below = os.path.join(path, entry.name)
            if not is_folder(entry):
                yield from _entries_of(task, entry, below, parse)
            elif task.recursive:
                yield from _walk(task, below, (*ancestors, folder), parse)


def _entries_of(
    task: ListTask, entry: os.DirEntry[bytes], path: bytes, parse: _Parser
) -> Iterator[Entry | Aside]:
    parsed = parse(path)
    if parsed.kind not in task.suffixes or entry.name.startswith(b"."):
        if path not in task.passed_over:
            yield Aside("ignored", path, ignored_as(path))
        return
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in LEADS_NOWHERE:
            raise
        yield _no_file(path, parsed)
        return
    # Opening a pipe would block forever.
    if not stat.S_ISREG(status.st_mode):
        yield _no_file(path, parsed)
        return
    file = SourceFile(path, status.st_size, status.st_mtime_ns)
    yield _entry_of(task, file, parsed)


def kind_of(path: bytes) -> str | None:
    """Returns `image` or `caption` depending on the suffix, or None."""
    return SUFFIXES.get(os.path.splitext(path)[1].lower())


def _entry_of(task: ListTask, file: SourceFile, parsed: _Parsed) -> Entry:
    file = file._replace(root=task.roots[task.suffixes.index(str(parsed.kind))])
    if parsed.kind == "image":
        return Entry(parsed.key, file.path, image=file)
    return Entry(parsed.key, file.path, caption=file, names=parsed.names)


def _no_file(path: bytes, parsed: _Parsed) -> Entry:
    flaw = ("not_a_file", "a link to nowhere, or not a regular file")
    return Entry(parsed.key, path, flaw=flaw)


def is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Returns whether a directory entry is a folder or a link to a folder."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in LEADS_NOWHERE:
            raise
        return False


def ignored_as(path: bytes) -> str:
    """Returns the category of an ignored file: its suffix, `hidden` or `none`."""
    name = os.path.basename(path)
    if name.startswith(b"."):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    return suffix.decode("utf-8", errors="replace") or "none"


# Buckets contain only regular files: no links, loops, pipes or devices.


def _folders_in_bucket(root: bytes) -> list[bytes]:
    return sorted(
        os.fsencode(listed.name) for listed in scan(root) if listed.status is None
    )


def _tasks_of_ranges(whole: ListTask) -> list[ListTask]:
    bounds = bounds_in(os.fsdecode(whole.root))
    # A hidden folder is counted once: by the task that lists all of it.
    seen = [name for name in bounds if _hidden_part(os.fsencode(name)) is None]
    ranges = ranges_between(seen)
    return [whole._replace(ranges=some, recursive=True) for some in _dealt(ranges)]


def _tasks_of_folders(whole: ListTask, names: list[str]) -> list[ListTask]:
    dealt = _dealt(names)
    return [whole._replace(subfolders=some, recursive=True) for some in dealt]


def _dealt(parts: Sequence[_Part]) -> list[tuple[_Part, ...]]:
    """Divides parts of a folder among tasks, as many as each lists at a time.

    Neighbors may both be large, so different tasks list them.
    """
    number = -(-len(parts) // AT_A_TIME)
    return [tuple(parts[first::number]) for first in range(number)]


def _files_in_bucket(task: ListTask) -> Iterator[SourceFile | Aside]:
    """Yields the files of a task.

    A hidden file or folder is yielded once, as ignored.
    """
    root = os.fsdecode(task.root)
    if task.ranges:
        found = scan_ranges(root, task.ranges)
    elif task.subfolders:
        found = scan_subfolders(root, task.subfolders)
    else:
        found = scan(root)
    hidden: set[bytes] = set()
    for listed in found:
        if listed.status is None:
            continue
        below = os.fsencode(listed.name)
        if _is_within(os.path.join(task.root, below), task.passed_over):
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
    """Returns a path up to its first hidden part, or None without hidden parts."""
    parts = path.split(b"/")
    for depth, part in enumerate(parts, 1):
        if part.startswith(b"."):
            return b"/".join(parts[:depth])
    return None
