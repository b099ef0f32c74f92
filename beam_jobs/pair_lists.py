"""The lists of pairs and of rejects that planning leaves on disk."""

from collections.abc import Iterator

from beam_jobs.elements import Pair, Reject
from beam_jobs.lines import load_pair, load_reject
from beam_jobs.options import JobConfig
from beam_jobs.plan import (
    NUM_BUCKETS,
    buckets_of_shard,
    order_of,
    shard_of,
    split_of,
)
from beam_jobs.workspace import Workspace
from reader.contract.layout import ShardName


def read_pairs(workspace: Workspace, bucket: int) -> Iterator[Pair]:
    """Yields the pairs of a bucket, in order."""
    data = workspace.read_if_exists(workspace.pairs(bucket)) or b""
    yield from map(load_pair, data.splitlines())


def read_rejects(workspace: Workspace, bucket: int) -> Iterator[Reject]:
    """Yields the keys of a bucket that pairing turned down."""
    data = workspace.read_if_exists(workspace.rejects(bucket)) or b""
    yield from map(load_reject, data.splitlines())


def read_all_rejects(workspace: Workspace) -> Iterator[Reject]:
    """Yields all keys that pairing turned down."""
    for bucket in range(NUM_BUCKETS):
        yield from read_rejects(workspace, bucket)


def pairs_of_shard(
    workspace: Workspace, shard: ShardName, config: JobConfig
) -> Iterator[Pair]:
    """Yields the pairs of a shard, in order."""
    shares = config.shares
    for bucket in buckets_of_shard(shard.number, shard.num_shards):
        for pair in read_pairs(workspace, bucket):
            order = order_of(pair.key, config.seed)
            if shard_of(order, shard.num_shards) != shard.number:
                continue
            if split_of(pair.key, config.seed, shares) == shard.split:
                yield pair
