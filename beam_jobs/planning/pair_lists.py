"""The lists of pairs and of rejects that planning leaves on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import (
    Bucket,
    Pair,
    Reject,
    dump_pair,
    dump_reject,
    load_pair,
    load_reject,
)
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.key_order import (
    NUM_BUCKETS,
    buckets_of_shard,
    order_of,
    shard_of,
)
from beam_jobs.storage.files import names_in, read_file, read_files, read_if_exists
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from reader.contract.layout import ShardName


class Lists(NamedTuple):
    """What the lists of a bucket hold.

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
    bucket: int,
    pairs: Iterable[Pair],
    rejects: Iterable[Reject],
) -> Lists:
    """Writes the lists of a bucket, the pairs in order; returns what is in them."""
    workspace, seed = Workspace(config.output), config.seed
    check_lease(workspace, lease)
    pairs = sorted(pairs, key=lambda pair: (order_of(pair.key, seed), pair.key))
    rejects = sorted(rejects, key=lambda reject: reject.key)
    pairs_data = "".join(map(dump_pair, pairs)).encode()
    rejects_data = "".join(map(dump_reject, rejects)).encode()
    # Rejects first: killed in between, a key is told of twice, which who writes the
    # lists again finds, and not in neither.
    lists = {workspace.rejects(bucket): rejects_data}
    lists[workspace.pairs(bucket)] = pairs_data
    for path, data in lists.items():
        # In a bucket each is a request, and most buckets turn nothing down.
        if data:
            workspace.publish(path, data, durable=False)
    return Lists(
        pairs=dict(Counter(pair.split for pair in pairs)),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        digest=hashlib.sha256(pairs_data).hexdigest(),
    )


def list_bytes(path: str) -> bytes:
    """Returns the bytes of a list; of a bucket that nothing fell into there is none."""
    return read_if_exists(path) or b""


def parse_pairs(data: bytes) -> Iterator[Pair]:
    """Yields the pairs of a list, in order."""
    yield from map(load_pair, data.splitlines())


def pairs_of_bucket(workspace: Workspace, bucket: Bucket) -> Iterator[Pair]:
    """Yields the pairs of a bucket that was planned, in order."""
    if bucket.pairs:
        yield from read_pairs(workspace, bucket.number)


def read_pairs(workspace: Workspace, bucket: int) -> Iterator[Pair]:
    """Yields the pairs of a bucket, in order.

    Raises:
        FileNotFoundError: There is no list. Who asks knows that there was one: that
            nothing is in it must not be concluded.
    """
    yield from parse_pairs(read_file(workspace.pairs(bucket)))


def read_rejects(workspace: Workspace, bucket: int) -> Iterator[Reject]:
    """Yields the keys of a bucket that pairing turned down."""
    yield from map(load_reject, list_bytes(workspace.rejects(bucket)).splitlines())


def read_all_rejects(workspace: Workspace) -> Iterator[Reject]:
    """Yields all keys that pairing turned down."""
    there = {*names_in(workspace.plan_dir)}
    paths = map(workspace.rejects, range(NUM_BUCKETS))
    for data in read_files(path for path in paths if os.path.basename(path) in there):
        yield from map(load_reject, (data or b"").splitlines())


def pairs_of_shard(
    workspace: Workspace, shard: ShardName, plan: JobPlan, config: JobConfig
) -> Iterator[Pair]:
    """Yields the pairs of a shard, in order."""
    buckets = buckets_of_shard(shard.number, shard.num_shards)
    for bucket in sorted({*buckets} & {*plan.buckets}):
        for pair in read_pairs(workspace, bucket):
            order = order_of(pair.key, config.seed)
            here = shard_of(order, shard.num_shards) == shard.number
            if here and pair.split == shard.split:
                yield pair
