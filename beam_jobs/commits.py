"""A shard's commit record: written last, so that its presence means the shard is whole.

It holds all that finalising needs, so that nobody reads a shard again.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.lines import dump_reject, load_reject
from beam_jobs.workspace import Workspace
from reader.contract.manifest import Shard, dump_json
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
    data = workspace.read_if_exists(workspace.commit(name))
    return parse_commit(data) if data is not None else None


def finished(workspace: Workspace, shard: ShardPlan) -> Commit | None:
    """Returns the commit record of a shard that need not be written again.

    Its files must be there, with the sizes they were committed with.
    """
    commit = read_commit(workspace, shard.label)
    if commit is None or commit.plan != shard.plan:
        return None
    for file in commit.files:
        if not os.path.exists(workspace.published(file)):
            return None
    try:
        size = os.path.getsize(workspace.published(shard.name.file))
    except FileNotFoundError:
        return None
    return commit if size == commit.shard.num_bytes else None


def committed_names(workspace: Workspace) -> Iterator[str]:
    """Yields the names of all shards that were committed, under whatever plan."""
    if os.path.isdir(workspace.commits):
        yield from sorted(
            name.removesuffix(".json") for name in os.listdir(workspace.commits)
        )
