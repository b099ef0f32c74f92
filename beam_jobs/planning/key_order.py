"""Which split, place and shard a key belongs to: pure functions of hashes.

A key's order is a 64-bit hash of it, and records lie in that order: shuffled, the same
everywhere, with no sorting of images. A shard is an equal range of the order hash. The
split comes from a second, independent hash. The plan is kept by key range, a range
of the order hash too, so that no stage ever holds all keys.
"""

import functools
import itertools
import math
import posixpath
from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b

from beam_jobs.config.job_config import JobConfig

# Pairs are planned in this many ranges of the order hash: at 10^6 pairs one holds
# 4,000, a file of half a megabyte; at 10^8, 60 MB.
NUM_KEY_RANGES = 256

_HASH_RANGE = 1 << 64


def order_of(key: bytes, seed: int) -> int:
    """Returns a key's place in the order of records, in [0, 2^64)."""
    return _hash(b"order", key, seed)


def split_of(key: bytes, seed: int, splits: Mapping[str, Fraction]) -> str:
    """Returns the split of a key (or of what stands for it), given splits' shares.

    The shares sum to 1.
    """
    place = _hash(b"split", key, seed)
    for name, bound in _bounds(tuple(splits.items())):
        if place < bound:
            return name
    raise ValueError(f"shares of splits must sum to 1, got {sum(splits.values())}")


@functools.cache
def _bounds(splits: tuple[tuple[str, Fraction], ...]) -> list[tuple[str, int]]:
    """Returns where each split ends, in the range of the hash."""
    upper = itertools.accumulate(share for _, share in splits)
    names = (name for name, _ in splits)
    return [
        (name, math.ceil(share * _HASH_RANGE))
        for name, share in zip(names, upper, strict=True)
    ]


def place_split(key: bytes, config: JobConfig, sha256: str = "") -> str:
    """Returns the split of a key, by what the configuration splits by.

    Args:
        key: The key.
        config: The splits and what decides: the key, its folder, or the image's
            content.
        sha256: Hex digest of the content; without it, the key stands in.
    """
    by = key
    if config.split_by == "folder":
        by = posixpath.dirname(key)
    elif config.split_by == "content" and sha256:
        by = sha256.encode()
    return split_of(by, config.seed, config.shares)


def _hash(use: bytes, key: bytes, seed: int) -> int:
    digest = blake2b(b"%d:%b" % (seed, key), digest_size=8, person=use).digest()
    return int.from_bytes(digest, "big")


def key_range_of(order: int) -> int:
    """Returns the key range that an order hash falls into."""
    return order * NUM_KEY_RANGES // _HASH_RANGE


def shard_of(order: int, num_shards: int) -> int:
    """Returns the shard that an order hash falls into."""
    return order * num_shards // _HASH_RANGE


def key_ranges_of_shard(index: int, num_shards: int) -> range:
    """Returns the key ranges that hold a shard's keys."""
    first = index * NUM_KEY_RANGES // num_shards
    last = -(-(index + 1) * NUM_KEY_RANGES // num_shards)
    return range(first, last)


def share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Shares `total` shards out to splits by their sizes; each gets one at least.

    By largest remainder, ties to the earlier:
    `share_out(10, [90, 9, 1])` -> `[7, 2, 1]`.
    """
    if total < len(sizes):
        raise ValueError(f"{total} shards are fewer than {len(sizes)} splits")
    spare, whole = total - len(sizes), sum(sizes)
    exact = [Fraction(spare * size, whole) if whole else Fraction(0) for size in sizes]
    shares = [1 + int(share) for share in exact]
    by_remainder = sorted(
        range(len(sizes)), key=lambda place: int(exact[place]) - exact[place]
    )
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    if sum(shares) < total:  # Nothing to go by: all sizes are 0.
        shares[0] += total - sum(shares)
    return shares


def shards_by_size(num_bytes: int, shard_size: int) -> int:
    """Returns how many shards of about `shard_size` bytes hold `num_bytes`."""
    return max(1, (num_bytes + shard_size // 2) // shard_size)
