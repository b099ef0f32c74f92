"""The lists of pairs and of rejects that planning leaves on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import (
    KeyRange,
    Pair,
    Reject,
    dump_pair,
    dump_reject,
    load_pair,
    load_reject,
)
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.key_order import (
    NUM_KEY_RANGES,
    key_ranges_of_shard,
    order_of,
    shard_of,
)
from beam_jobs.storage.files import names_in, read_file, read_files, read_if_exists
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from reader.contract.layout import ShardName


class Lists(NamedTuple):
    """What the lists of a key range hold.

    Attributes:
        pairs: `{split: pairs}`.
        rejects: `{reason: keys}`.
        digest: Digest of the pairs, times of change included.
    """

    pairs: dict[str, int]
    rejects: dict[str, int]
    digest: str


def write_lists(
    config: JobConfig,
    lease: str,
    key_range: int,
    pairs: Iterable[Pair],
    rejects: Iterable[Reject],
) -> Lists:
    """Writes the lists of a key range, the pairs in order; returns what is in them."""
    workspace, seed = Workspace(config.output), config.seed
    check_lease(workspace, lease)
    pairs = sorted(pairs, key=lambda pair: (order_of(pair.key, seed), pair.key))
    rejects = sorted(rejects, key=lambda reject: reject.key)
    pairs_data = "".join(map(dump_pair, pairs)).encode()
    rejects_data = "".join(map(dump_reject, rejects)).encode()
    # Rejects first: killed in between, a key is told of twice, which who writes the
    # lists again finds, and not in neither.
    lists = {workspace.rejects(key_range): rejects_data}
    lists[workspace.pairs(key_range)] = pairs_data
    for path, data in lists.items():
        # In a bucket each is a request, and most key ranges turn nothing down.
        if data:
            workspace.publish(path, data, durable=False)
    return Lists(
        pairs=dict(Counter(pair.split for pair in pairs)),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        digest=hashlib.sha256(pairs_data).hexdigest(),
    )


def list_bytes(path: str) -> bytes:
    """Returns the bytes of a list; none if it does not exist, as of an empty range."""
    return read_if_exists(path) or b""


def parse_pairs(data: bytes) -> Iterator[Pair]:
    """Yields the pairs of a list, in order."""
    yield from map(load_pair, data.splitlines())


def pairs_of_key_range(workspace: Workspace, key_range: KeyRange) -> Iterator[Pair]:
    """Yields the pairs of a key range that was planned, in order."""
    if key_range.pairs:
        yield from read_pairs(workspace, key_range.number)


def read_pairs(workspace: Workspace, key_range: int) -> Iterator[Pair]:
    """Yields the pairs of a key range, in order.

    Raises:
        FileNotFoundError: There is no list. Who asks knows that there was one: that
            nothing is in it must not be concluded.
    """
    yield from parse_pairs(read_file(workspace.pairs(key_range)))


def read_rejects(workspace: Workspace, key_range: int) -> Iterator[Reject]:
    """Yields the keys of a key range that pairing turned down."""
    yield from map(load_reject, list_bytes(workspace.rejects(key_range)).splitlines())


def read_all_rejects(workspace: Workspace) -> Iterator[Reject]:
    """Yields all keys that pairing turned down."""
    there = {*names_in(workspace.plan_dir)}
    paths = map(workspace.rejects, range(NUM_KEY_RANGES))
    for data in read_files(path for path in paths if os.path.basename(path) in there):
        yield from map(load_reject, (data or b"").splitlines())


def pairs_of_shard(
    workspace: Workspace, shard: ShardName, plan: JobPlan, config: JobConfig
) -> Iterator[Pair]:
    """Yields the pairs of a shard, in order."""
    key_ranges = key_ranges_of_shard(shard.number, shard.num_shards)
    for key_range in sorted({*key_ranges} & {*plan.key_ranges}):
        for pair in read_pairs(workspace, key_range):
            order = order_of(pair.key, config.seed)
            here = shard_of(order, shard.num_shards) == shard.number
            if here and pair.split == shard.split:
                yield pair
