"""Checks the files beside the shards of a dataset or of a layer."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import google_crc32c

from reader.contract.layout import (
    BLOCKS,
    INDEX_DIR,
    REJECTS,
    SAMPLES_DIR,
    SHARD_SUFFIX,
    TOKENIZER_DIR,
    parse_shard_name,
    shard_of_file,
)
from reader.contract.manifest import TokenizerSpec
from reader.datasets.manifest_dataset import IndexedFolder
from reader.storage.files import is_folder, list_folder, open_file
from reader.tools.verify.problems import Problem, unreadable

_CHUNK_BYTES = 1 << 20


def check_files(
    folder: IndexedFolder, json_file: str, tokenizer: TokenizerSpec | None
) -> Iterator[Problem]:
    """Yields problems with the files beside the shards.

    Args:
        folder: Folder of the shards, with the checksums of the other files.
        json_file: Name of the file that states them.
        tokenizer: Tokenizer whose file is in the folder; None without one.
    """
    for file, crc32c in folder.files.items():
        problem = flaw_of_file(folder, file, crc32c)
        if problem is not None:
            yield problem
    for file in _expected(folder, tokenizer):
        if file not in folder.files:
            what = f"no checksum for {file}"
            yield Problem(folder.path(json_file), what, remedy="overwrite")
    known = {*folder.files, *(shard.file for shard in folder.shards)}
    for inside in ("", INDEX_DIR, SAMPLES_DIR):
        try:
            files = _named_after_shards(folder, inside)
        except PermissionError as error:
            yield unreadable(folder.path(inside).rstrip("/"), error)
            continue
        for file in files:
            if file not in known:
                what = "not part of the dataset"
                yield Problem(folder.path(file), what, remedy="remove")


def flaw_of_file(folder: IndexedFolder, file: str, crc32c: str) -> Problem | None:
    """Returns the problem with a file that should have a checksum, or None.

    An unreadable file is a problem, not an error, so the other files are still checked.
    """
    checksum, path = google_crc32c.Checksum(), folder.path(file)
    try:
        with open_file(path) as data:
            while chunk := data.read(_CHUNK_BYTES):
                checksum.update(chunk)
    except OSError as error:
        return unreadable(path, error)
    if checksum.digest().hex() != crc32c:
        return Problem(path, f"checksum does not match {folder.stated_by}")
    return None


def _expected(folder: IndexedFolder, tokenizer: TokenizerSpec | None) -> Iterator[str]:
    """Yields every file that a folder must have besides its shards."""
    yield from (BLOCKS, REJECTS)
    if tokenizer is not None:
        yield f"{TOKENIZER_DIR}/{tokenizer.file}"
    for shard in folder.shards:
        name = parse_shard_name(shard.file)
        if name is not None:
            yield from (name.index_file, name.samples_file)


def _named_after_shards(folder: IndexedFolder, inside: str) -> list[str]:
    """Returns the files that a glob of shards or of their side files would match."""
    path = folder.path(inside).rstrip("/")
    names = list_folder(path) if is_folder(path) else []
    names = [n for n in names if shard_of_file(n) or n.endswith(SHARD_SUFFIX)]
    return [os.path.join(inside, name) for name in names]


def check_rejects(
    folder: IndexedFolder, not_written: Mapping[str, int]
) -> Iterator[Problem]:
    """Yields a problem if the lines of `rejects.jsonl` are not those counted."""
    path, num_rejects = folder.path(REJECTS), sum(not_written.values())
    with contextlib.suppress(OSError), open_file(path) as file:
        num_lines = sum(1 for _ in file)
        if num_lines != num_rejects:
            what = f"{num_lines} lines, but {folder.stated_by} counts {num_rejects}"
            yield Problem(path, f"{what} rejects")
