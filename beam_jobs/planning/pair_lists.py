"""Reads and writes the lists of pairs and rejects of the plan."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from beam_jobs.elements import KeyRange, Pair, Reject
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.key_order import (
    NUM_KEY_RANGES,
    key_ranges_of_shard,
    order_of,
    shard_of,
)
from beam_jobs.storage.files import names_in, read_file, read_files, read_if_exists
from beam_jobs.workspace.element_lines import (
    dump_pair,
    dump_reject,
    load_pair,
    load_reject,
)
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from reader.contract.layout import ShardName


class Ordered(Protocol):
    """Configuration of a job that plans by key range."""

    @property
    def output(self) -> str:
        """Folder that the job writes to."""

    @property
    def seed(self) -> int:
        """Seed of the order of records."""


class Lists(NamedTuple):
    """Counts and digest of the lists of a key range.

    Attributes:
        pairs: Number of pairs, as `{split: pairs}`.
        rejects: Number of rejected keys, as `{reason: keys}`.
        digest: Digest of the pairs, including modification times.
    """

    pairs: dict[str, int]
    rejects: dict[str, int]
    digest: str


def write_lists(
    config: Ordered,
    lease: str,
    key_range: int,
    pairs: Iterable[Pair],
    rejects: Iterable[Reject],
) -> Lists:
    """Writes the lists of a key range, with the pairs in record order.

    Args:
        config: Configuration of the job.
        lease: Token of the output's lease, held by the running job.
        key_range: Number of the key range.
        pairs: Pairs of the key range, in any order.
        rejects: Rejects of the key range, in any order.

    Returns:
        Counts and digest of the lists.

    Raises:
        BuildError: Another job holds the lease.
    """
    workspace, seed = Workspace(config.output), config.seed
    check_lease(workspace, lease)
    pairs = sorted(pairs, key=lambda pair: (order_of(pair.key, seed), pair.key))
    rejects = sorted(rejects, key=lambda reject: reject.key)
    pairs_data = "".join(map(dump_pair, pairs)).encode()
    rejects_data = "".join(map(dump_reject, rejects)).encode()
    # Rejects are written first. If the job is killed in between, a key is in both lists
    # and is resolved when the lists are written again. It is never in neither list.
    lists = {workspace.rejects(key_range): rejects_data}
    lists[workspace.pairs(key_range)] = pairs_data
    for path, data in lists.items():
        # Each file in a bucket costs a request, and most key ranges have no rejects.
        if data:
            workspace.publish(path, data, durable=False)
    return Lists(
        pairs=dict(Counter(pair.split for pair in pairs)),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        digest=hashlib.sha256(pairs_data).hexdigest(),
    )


def list_bytes(path: str) -> bytes:
    """Returns the bytes of a list, which are empty if the list does not exist."""
    return read_if_exists(path) or b""


def parse_pairs(data: bytes) -> Iterator[Pair]:
    """Parses the bytes of a list of pairs and yields the pairs, in order."""
    yield from map(load_pair, data.splitlines())


def pairs_of_key_range(workspace: Workspace, key_range: KeyRange) -> Iterator[Pair]:
    """Yields the pairs of a planned key range, in order."""
    if key_range.pairs:
        yield from read_pairs(workspace, key_range.number)


def read_pairs(workspace: Workspace, key_range: int) -> Iterator[Pair]:
    """Yields the pairs of a key range, in order.

    Raises:
        FileNotFoundError: The list does not exist. Callers only ask for key ranges that
            have pairs, so a missing list is an error.
    """
    yield from parse_pairs(read_file(workspace.pairs(key_range)))


def read_rejects(workspace: Workspace, key_range: int) -> Iterator[Reject]:
    """Yields the rejects of a key range."""
    yield from map(load_reject, list_bytes(workspace.rejects(key_range)).splitlines())


def read_all_rejects(workspace: Workspace) -> Iterator[Reject]:
    """Yields the rejects of all key ranges."""
    existing = {*names_in(workspace.plan_dir)}
    paths = map(workspace.rejects, range(NUM_KEY_RANGES))
    for data in read_files(
        path for path in paths if os.path.basename(path) in existing
    ):
        yield from map(load_reject, (data or b"").splitlines())


def pairs_of_shard(
    workspace: Workspace, shard: ShardName, plan: JobPlan, config: Ordered
) -> Iterator[Pair]:
    """Yields the pairs of a shard, in order."""
    key_ranges = key_ranges_of_shard(shard.number, shard.num_shards)
    for key_range in sorted({*key_ranges} & {*plan.key_ranges}):
        for pair in read_pairs(workspace, key_range):
            order = order_of(pair.key, config.seed)
            in_shard = shard_of(order, shard.num_shards) == shard.number
            if in_shard and pair.split == shard.split:
                yield pair
