"""Finds the files and folders of a source by path, glob or braces."""

import glob
import itertools
import os
import re
from collections.abc import Sequence

from braceexpand import braceexpand

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.job_config import JobConfig
from beam_jobs.storage.addresses import scheme_of
from beam_jobs.storage.files import (
    absolute,
    is_file,
    is_folder,
    is_remote,
    real_path,
)
from beam_jobs.storage.wide_scan import scan_all
from reader.contract.errors import UsageError


def with_allowed(firsts: Sequence[str | bytes], config: JobConfig) -> tuple[bytes, ...]:
    """Returns the roots of relative names, followed by the roots of `allow_roots`."""
    return tuple(absolute(os.fsencode(root)) for root in (*firsts, *config.allow_roots))


def files_named(flag: str, config: CommonConfig) -> list[bytes]:
    """Returns the sorted paths that match a flag's paths, globs or braces.

    Braces are expanded as in WebDataset: `{00000..00099}.tar`.

    Args:
        flag: Name of the flag and of its field.
        config: Configuration of the job.

    Raises:
        UsageError: No file matches, or a match is not a readable file.
    """
    paths: set[str] = set()
    parts = (_parts_of(flag, pattern) for pattern in config.paths(flag))
    for part in itertools.chain.from_iterable(parts):
        found = _matching(part) if is_remote(part) else _glob(part)
        if not found:
            raise UsageError(f"--{flag}={part}: no such file")
        paths |= set(found)
    for path in paths:
        _check_file(flag, path)
    return sorted(map(os.fsencode, paths))


def _matching(pattern: str) -> list[str]:
    if is_file(pattern):
        return [pattern]
    folder, expression = fixed_folder(pattern), glob_expression(pattern)
    names = (f"{folder}/{listed.name}" for listed in scan_all(folder))
    return [name for name in names if expression.fullmatch(name)]


def _glob(pattern: str) -> list[str]:
    found = [pattern] if os.path.exists(pattern) else []
    return found or glob.glob(pattern, recursive=True)


def _check_file(flag: str, path: str) -> None:
    if is_remote(path):
        return  # The listing has already found the object.
    if not os.path.isfile(path):
        raise UsageError(f"--{flag}={path}: not a file")
    if not os.access(path, os.R_OK, effective_ids=True):
        raise UsageError(f"--{flag}={path}: no permission to read this file")


def _parts_of(flag: str, pattern: str) -> list[str]:
    """Returns the paths or globs of a pattern with its braces expanded."""
    if is_file(pattern) or os.path.exists(pattern):
        return [pattern]
    try:
        return list(braceexpand(pattern))
    except ValueError as error:  # The braces are unbalanced.
        raise UsageError(f"--{flag}={pattern}: {error}") from error


def common_folder(paths: Sequence[bytes]) -> bytes:
    """Returns the absolute path of the deepest folder that contains all files.

    Raises:
        UsageError: The files have no folder in common, such as files in two buckets.
    """
    folders = [os.path.dirname(absolute(path)) for path in paths]
    schemes = {scheme_of(os.fsdecode(folder)) for folder in folders}
    if schemes == {None}:
        return os.path.commonpath(folders)
    if len(schemes) > 1:
        raise UsageError("tables or tars must all be local, or all be in one bucket")
    (scheme,) = schemes
    # `commonpath` of `gs://bucket/a` and `gs://bucket/b` returns `gs:/bucket`.
    common = os.path.commonpath(folders).partition(b"/")[2]
    if not common:
        raise UsageError("tables or tars must all be in one bucket")
    return os.fsencode(f"{scheme}://") + common


def refuse_columns(config: JobConfig, what: str) -> None:
    """Rejects options for columns; for source types that have no columns.

    Args:
        config: Configuration of the job.
        what: Noun for the source, for the error message.

    Raises:
        UsageError: Columns are to be stored, or hold keys or splits.
    """
    if config.reads_columns:
        raise UsageError(
            f"columns need a table: {what} has no columns, use table, coco or "
            "webdataset"
        )


def refuse_options(
    config: JobConfig, what: str, *fields: str, instead: str = "leave it out"
) -> None:
    """Rejects options that a source type does not support.

    Args:
        config: Configuration of the job.
        what: Noun for the source, for the error message.
        *fields: Names of the options.
        instead: What to do, for the error message.

    Raises:
        UsageError: One of the options is set.
    """
    for field in fields:
        if getattr(config, field):
            raise UsageError(f"{field} does not apply to {what}: {instead}")


def check_folders(flag: str, config: JobConfig) -> None:
    """Checks source folders before the job starts.

    Args:
        flag: Name of the flag and of its field.
        config: Configuration of the job.

    Raises:
        UsageError: A path is missing, not a folder, not readable, or the output.
    """
    for root in config.paths(flag):
        _check_folder(flag, root, config.output)


def check_apart(flag: str, config: JobConfig) -> None:
    """Checks that no source folder is inside another, which would list it twice.

    Args:
        flag: Name of the flag and of its field.
        config: Configuration of the job.

    Raises:
        UsageError: Two paths are the same folder, or one is inside the other.
    """
    roots = config.paths(flag)
    for outer, inner in itertools.permutations(roots, 2):
        if f"{real_path(inner)}/".startswith(f"{real_path(outer)}/"):
            raise UsageError(
                f"--{flag}={inner} is inside --{flag}={outer}, which is read at any "
                "depth: pass only one of them"
            )


def _check_folder(flag: str, root: str, output: str) -> None:
    if real_path(root) == real_path(output):
        raise UsageError(
            f"--output={output} is the same folder as --{flag}: choose another folder, "
            "such as a new folder inside it"
        )
    if is_remote(root):
        if not is_folder(root):
            raise UsageError(f"--{flag}={root}: no object has this prefix")
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
    """Returns the deepest folder that contains all matches of a glob.

    >>> fixed_folder("gs://bucket/a/b*/c.tar")
    'gs://bucket/a'
    """
    magic = _MAGIC.search(pattern)
    return pattern[: magic.start() if magic else None].rpartition("/")[0]


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Compiles a glob to a regular expression for full matches.

    `*` and `?` do not match `/`, `**` does.
    """
    return re.compile("".join(map(_expression_of, _PARTS.findall(pattern))), re.DOTALL)


def _expression_of(part: str) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if part in wild:
        return wild[part]
    if part.startswith("[") and len(part) > 2:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)
