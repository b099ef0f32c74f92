"""Reads and writes commit records of shards.

A commit record is written after all files of its shard, so its existence means that
the shard is complete. It contains everything that finalizing needs, so no shard is
read again.
"""

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.storage.files import (
    crc32c_of,
    is_file,
    names_in,
    read_files,
    read_if_exists,
    status_of,
)
from beam_jobs.workspace.element_lines import dump_reject, load_reject
from beam_jobs.workspace.workspace import Workspace
from reader.contract.json_values import dump_json
from reader.contract.manifest import Shard
from reader.contract.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The commit record of a finished shard.

    Attributes:
        plan: Fingerprint of the job plan that the shard was written for.
        shard: File name, counts and checksum of the shard.
        files: Checksums of the other files of the shard, as `{file: crc32c}`.
        lengths: The shard's part of `index/lengths.bin`.
        statistics: Statistics of the records.
        rejects: Keys of the shard that were not written.
        dropped_captions: Number of captions, unusable or too short, dropped from
            written records.
        input: Sum, modulo 2^256, of the SHA-256 of each record's key and sources.
    """

    plan: str
    shard: Shard
    files: dict[str, str]
    lengths: bytes
    statistics: Statistics
    rejects: tuple[Reject, ...]
    dropped_captions: int
    input: int

    @property
    def checksums(self) -> dict[str, str]:
        """Checksums of the shard and its other files, as `{file: crc32c}`."""
        return {self.shard.file: self.shard.crc32c, **self.files}


def write_commit(workspace: Workspace, name: str, commit: Commit) -> None:
    """Publishes a shard's commit record."""
    fields = {
        "plan": commit.plan,
        "shard": dataclasses.asdict(commit.shard),
        "files": commit.files,
        "lengths": base64.b64encode(commit.lengths).decode(),
        "statistics": dataclasses.asdict(commit.statistics),
        "rejects": [dump_reject(reject) for reject in commit.rejects],
        "dropped_captions": commit.dropped_captions,
        "input": f"{commit.input:064x}",
    }
    workspace.publish(workspace.commit(name), dump_json(fields))


def parse_commit(data: bytes) -> Commit:
    """Parses the bytes of a commit record."""
    fields = json.loads(data)
    return Commit(
        plan=fields["plan"],
        shard=Shard(**fields["shard"]),
        files=fields["files"],
        lengths=base64.b64decode(fields["lengths"], validate=True),
        statistics=Statistics.from_json(fields["statistics"]),
        rejects=tuple(map(load_reject, fields["rejects"])),
        dropped_captions=fields["dropped_captions"],
        input=int(fields["input"], 16),
    )


def read_commit(workspace: Workspace, name: str) -> Commit | None:
    """Returns a shard's commit record, or None if it is missing or damaged."""
    data = read_if_exists(workspace.commit(name))
    return _parsed(data)


def _parsed(data: bytes | None) -> Commit | None:
    """Parses a commit record. Returns None if it is damaged, to redo the shard."""
    try:
        return None if data is None else parse_commit(data)
    except (ValueError, KeyError, TypeError):
        return None


def read_commits(workspace: Workspace, names: Iterable[str]) -> Iterator[Commit | None]:
    """Yields the commit records of shards, or None if one is missing or damaged."""
    for data in read_files(workspace.commit(name) for name in names):
        yield _parsed(data)


def finished(
    workspace: Workspace, shard: ShardPlan, *, check_bytes: bool
) -> Commit | None:
    """Returns the commit record of a finished shard, or None if it must be written.

    All files of the shard must exist, and the shard must have its committed size.

    Args:
        workspace: Workspace of the job.
        shard: Plan of the shard.
        check_bytes: Whether to compare the checksums of all files instead.
    """
    commit = read_commit(workspace, shard.label)
    if commit is None or commit.plan != shard.plan:
        return None
    if check_bytes:
        return None if damaged_files(workspace, commit.checksums) else commit
    if not all(is_file(workspace.published(file)) for file in commit.files):
        return None
    try:
        size = status_of(workspace.published(shard.name.file)).size
    except FileNotFoundError:
        return None
    return commit if size == commit.shard.num_bytes else None


def damaged_files(workspace: Workspace, checksums: Mapping[str, str]) -> list[str]:
    """Returns the names of files that do not match their checksums."""
    return [
        file
        for file, crc32c in checksums.items()
        if crc32c_of(workspace.published(file)) != crc32c
    ]


def committed_names(workspace: Workspace) -> list[str]:
    """Returns the names of all shards with a commit record, under any plan."""
    return [name.removesuffix(".json") for name in names_in(workspace.commits)]
