"""The folders that a source's paths are below; `SourceFile.root` counts them."""

import glob
import os
from collections.abc import Sequence

from braceexpand import braceexpand

from beam_jobs.options import JobConfig
from reader.contract.errors import UsageError


def roots_of(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the source's roots; relative names are below the first."""
    if config.webdataset is not None:
        return (common_folder(files_named("webdataset", config.webdataset)),)
    if config.captions is not None:
        return os.fsencode(str(config.images)), os.fsencode(config.captions)
    first = (
        os.fsencode(config.images)
        if config.images is not None
        else common_folder(files_named("table", str(config.table)))
    )
    return with_allowed(first, config)


def with_allowed(first: bytes, config: JobConfig) -> tuple[bytes, ...]:
    """Returns the root that relative names are below, and those allowed besides."""
    more = (os.fsencode(os.path.abspath(root)) for root in config.allow_roots)
    return os.path.abspath(first), *more


def files_named(flag: str, pattern: str) -> list[bytes]:
    """Returns the files that a path or a glob names, sorted.

    Braces do too, as WebDataset's users write them: `{00000..00099}.tar`.

    Raises:
        UsageError: There is none, or one is no file.
    """
    paths: set[str] = set()
    for part in _parts_of(flag, pattern):
        found = [part] if os.path.exists(part) else glob.glob(part, recursive=True)
        if not found:
            raise UsageError(f"--{flag}={part}: no such file")
        paths |= set(found)
    for path in paths:
        if not os.path.isfile(path):
            raise UsageError(f"--{flag}={path}: not a file")
        if not os.access(path, os.R_OK, effective_ids=True):
            raise UsageError(f"--{flag}={path}: no permission to read this file")
    return sorted(map(os.fsencode, paths))


def _parts_of(flag: str, pattern: str) -> list[str]:
    """Returns the paths or globs that a pattern with braces stands for."""
    if os.path.exists(pattern):
        return [pattern]
    try:
        return list(braceexpand(pattern))
    except ValueError as error:  # Braces that do not close.
        raise UsageError(f"--{flag}={pattern}: {error}") from error


def common_folder(paths: Sequence[bytes]) -> bytes:
    """Returns the absolute path of the deepest folder that holds all files."""
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    return os.path.commonpath(folders)


def check_folder(flag: str, root: str, output: str) -> None:
    """Checks that a source folder is there, before any work.

    Raises:
        UsageError: It is missing, no folder, not to be read, or is the output.
    """
    if not os.path.exists(root):
        raise UsageError(f"--{flag}={root}: no such folder")
    if not os.path.isdir(root):
        raise UsageError(f"--{flag}={root}: not a folder")
    if not os.access(root, os.R_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"--{flag}={root}: no permission to read this folder")
    if os.path.realpath(root) == os.path.realpath(output):
        raise UsageError(
            f"--output={output} is the folder of {flag} itself: choose "
            "another, such as a new folder in it"
        )
