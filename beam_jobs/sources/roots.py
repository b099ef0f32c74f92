"""Folders, globs and braces that name a source's files, local or in a bucket."""

import glob
import os
import re
from collections.abc import Sequence
from typing import AnyStr

from braceexpand import braceexpand

from beam_jobs.config.job_config import JobConfig
from beam_jobs.storage.files import absolute, is_file, is_folder, is_remote, scan
from beam_jobs.storage.object_store import scheme_of
from reader.contract.errors import UsageError


def with_allowed(first: bytes, config: JobConfig) -> tuple[bytes, ...]:
    """Returns the root that relative names are below, and those allowed besides."""
    more = (os.fsencode(absolute(root)) for root in config.allow_roots)
    return absolute(first), *more


def real_path(path: AnyStr) -> AnyStr:
    """Returns an absolute path with links followed; in a bucket there are none."""
    return absolute(path) if is_remote(path) else os.path.realpath(path)


def files_named(flag: str, pattern: str) -> list[bytes]:
    """Returns the files that a path or a glob names, sorted.

    Braces do too, as WebDataset's users write them: `{00000..00099}.tar`.

    Raises:
        UsageError: There is none, or one is no file.
    """
    paths: set[str] = set()
    for part in _parts_of(flag, pattern):
        found = _matching(part) if is_remote(part) else _glob(part)
        if not found:
            raise UsageError(f"--{flag}={part}: no such file")
        paths |= set(found)
    for path in paths:
        _check_file(flag, path)
    return sorted(map(os.fsencode, paths))


def _matching(pattern: str) -> list[str]:
    """Returns the objects that a name or a glob stands for."""
    if is_file(pattern):
        return [pattern]
    folder, expression = fixed_folder(pattern), glob_expression(pattern)
    names = (f"{folder}/{listed.name}" for listed in scan(folder, deep=True))
    return [name for name in names if expression.fullmatch(name)]


def _glob(pattern: str) -> list[str]:
    found = [pattern] if os.path.exists(pattern) else []
    return found or glob.glob(pattern, recursive=True)


def _check_file(flag: str, path: str) -> None:
    if is_remote(path):
        return  # It was listed as one; reading it tells the rest.
    if not os.path.isfile(path):
        raise UsageError(f"--{flag}={path}: not a file")
    if not os.access(path, os.R_OK, effective_ids=True):
        raise UsageError(f"--{flag}={path}: no permission to read this file")


def _parts_of(flag: str, pattern: str) -> list[str]:
    """Returns the paths or globs that a pattern with braces stands for."""
    if is_file(pattern) or os.path.exists(pattern):
        return [pattern]
    try:
        return list(braceexpand(pattern))
    except ValueError as error:  # Braces that do not close.
        raise UsageError(f"--{flag}={pattern}: {error}") from error


def common_folder(paths: Sequence[bytes]) -> bytes:
    """Returns the absolute path of the deepest folder that holds all files."""
    folders = [os.path.dirname(absolute(path)) for path in paths]
    schemes = {scheme_of(os.fsdecode(folder)) for folder in folders}
    if schemes == {None}:
        return os.path.commonpath(folders)
    if len(schemes) > 1:
        raise UsageError("tables or tars must all be here, or all in one bucket")
    (scheme,) = schemes
    # As paths, `gs://bucket/a` and `gs://bucket/b` have `gs:/bucket` in common.
    common = os.path.commonpath(folders).partition(b"/")[2]
    if not common:
        raise UsageError("tables or tars must all be in one bucket")
    return os.fsencode(f"{scheme}://") + common


def check_folder(flag: str, root: str, output: str) -> None:
    """Checks that a source folder is there, before any work.

    Raises:
        UsageError: It is missing, no folder, not to be read, or is the output.
    """
    if real_path(root) == real_path(output):
        raise UsageError(
            f"--output={output} is the folder of {flag} itself: choose "
            "another, such as a new folder in it"
        )
    if is_remote(root):
        if not is_folder(root):
            raise UsageError(f"--{flag}={root}: nothing has a name that begins so")
        return
    if not os.path.exists(root):
        raise UsageError(f"--{flag}={root}: no such folder")
    if not os.path.isdir(root):
        raise UsageError(f"--{flag}={root}: not a folder")
    if not os.access(root, os.R_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"--{flag}={root}: no permission to read this folder")


_MAGIC = re.compile(r"[*?[]")
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\]|.", re.DOTALL)


def fixed_folder(pattern: str) -> str:
    """Returns the folder that all files of a glob lie below.

    >>> fixed_folder("gs://bucket/a/b*/c.tar")
    'gs://bucket/a'
    """
    magic = _MAGIC.search(pattern)
    return pattern[: magic.start() if magic else None].rpartition("/")[0]


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Returns what a name must match: `*` and `?` stay in a folder, `**` does not."""
    return re.compile("".join(map(_expression_of, _PARTS.findall(pattern))), re.DOTALL)


def _expression_of(part: str) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if part in wild:
        return wild[part]
    if part.startswith("[") and len(part) > 2:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)
