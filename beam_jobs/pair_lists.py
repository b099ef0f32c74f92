"""The lists of pairs and of rejects that planning leaves on disk."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.elements import Pair, Reject
from beam_jobs.lines import dump_pair, dump_reject, load_pair, load_reject
from beam_jobs.options import JobConfig
from beam_jobs.plan import NUM_BUCKETS, buckets_of_shard, order_of, shard_of
from beam_jobs.workspace import Workspace
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
    config: JobConfig, bucket: int, pairs: Iterable[Pair], rejects: Iterable[Reject]
) -> Lists:
    """Writes the lists of a bucket, the pairs in order; returns what is in them."""
    workspace, seed = Workspace(config.output), config.seed
    pairs = sorted(pairs, key=lambda pair: (order_of(pair.key, seed), pair.key))
    rejects = sorted(rejects, key=lambda reject: reject.key)
    pairs_data = "".join(map(dump_pair, pairs)).encode()
    rejects_data = "".join(map(dump_reject, rejects)).encode()
    workspace.publish(workspace.pairs(bucket), pairs_data, durable=False)
    workspace.publish(workspace.rejects(bucket), rejects_data, durable=False)
    return Lists(
        pairs=dict(Counter(pair.split for pair in pairs)),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        digest=hashlib.sha256(pairs_data).hexdigest(),
    )


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
    for bucket in buckets_of_shard(shard.number, shard.num_shards):
        for pair in read_pairs(workspace, bucket):
            order = order_of(pair.key, config.seed)
            here = shard_of(order, shard.num_shards) == shard.number
            if here and pair.split == shard.split:
                yield pair
