"""A shard's commit record: written last, so that its presence means the shard is whole.

It holds all that finalising needs, so that nobody reads a shard again.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from beam_jobs.elements import Reject, ShardPlan, dump_reject, load_reject
from beam_jobs.storage.files import (
    crc32c_of,
    is_file,
    names_in,
    read_files,
    read_if_exists,
    status_of,
)
from beam_jobs.workspace.workspace import Workspace
from reader.contract.json_values import dump_json
from reader.contract.manifest import Shard
from reader.contract.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one finished shard is.

    Attributes:
        plan: Fingerprint of the plan it was written for.
        shard: Its file, and what that contains.
        files: `{file: crc32c}` of the files beside the shard.
        blocks: Where every 64th record begins.
        statistics: Of its records.
        rejects: Keys of the shard that were not written.
        dropped_captions: Captions of no use, beside others of their key.
        input: Sum modulo 2^256 of the SHA-256 of each record's key and sources.
    """

    plan: str
    shard: Shard
    files: dict[str, str]
    blocks: tuple[int, ...]
    statistics: Statistics
    rejects: tuple[Reject, ...]
    dropped_captions: int
    input: int

    @property
    def checksums(self) -> dict[str, str]:
        """`{file: crc32c}` of the shard and of the files beside it."""
        return {self.shard.file: self.shard.crc32c, **self.files}


def write_commit(workspace: Workspace, name: str, commit: Commit) -> None:
    """Publishes a shard's commit record."""
    fields = {
        "plan": commit.plan,
        "shard": dataclasses.asdict(commit.shard),
        "files": commit.files,
        "blocks": commit.blocks,
        "statistics": dataclasses.asdict(commit.statistics),
        "rejects": [dump_reject(reject) for reject in commit.rejects],
        "dropped_captions": commit.dropped_captions,
        "input": f"{commit.input:064x}",
    }
    workspace.publish(workspace.commit(name), dump_json(fields))


def parse_commit(data: bytes) -> Commit:
    """Returns the commit record of its bytes."""
    fields = json.loads(data)
    return Commit(
        plan=fields["plan"],
        shard=Shard(**fields["shard"]),
        files=fields["files"],
        blocks=tuple(fields["blocks"]),
        statistics=Statistics.from_json(fields["statistics"]),
        rejects=tuple(map(load_reject, fields["rejects"])),
        dropped_captions=fields["dropped_captions"],
        input=int(fields["input"], 16),
    )


def read_commit(workspace: Workspace, name: str) -> Commit | None:
    """Returns a shard's commit record, or None where there is none."""
    data = read_if_exists(workspace.commit(name))
    return _parsed(data)


def _parsed(data: bytes | None) -> Commit | None:
    """Returns a commit record; a damaged one is none, and its shard is redone."""
    try:
        return None if data is None else parse_commit(data)
    except (ValueError, KeyError, TypeError):
        return None


def read_commits(workspace: Workspace, names: Iterable[str]) -> Iterator[Commit | None]:
    """Yields the commit records of shards, None where there is none."""
    for data in read_files(workspace.commit(name) for name in names):
        yield _parsed(data)


def finished(
    workspace: Workspace, shard: ShardPlan, *, check_bytes: bool
) -> Commit | None:
    """Returns the commit record of a shard that need not be written again.

    Its files must be there, the shard with the size it was committed with, and with
    `check_bytes` all with the checksums they were committed with.
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
    """Returns the files, of those given with checksums, that are not as they were."""
    return [
        file
        for file, crc32c in checksums.items()
        if crc32c_of(workspace.published(file)) != crc32c
    ]


def committed_names(workspace: Workspace) -> list[str]:
    """Returns the names of all shards that were committed, under whatever plan."""
    return [name.removesuffix(".json") for name in names_in(workspace.commits)]
