"""Assigns keys to splits, shards and positions with pure functions of hashes.

The order hash is a 64-bit hash of the key, and records are sorted by it. This shuffles
the records, gives the same order on every machine, and needs no sorting of images. Each
shard is an equal range of the order hash. The split comes from a second, independent
hash. The plan is stored by key range, which is also a range of the order hash, so no
stage holds all keys in memory.
"""

import functools
import itertools
import math
import posixpath
from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b

from beam_jobs.config.job_config import JobConfig

# Number of key ranges. With 10^6 pairs a key range has 4,000 pairs, a file of half a
# megabyte. With 10^8 pairs the file has 60 MB.
NUM_KEY_RANGES = 256

_HASH_RANGE = 1 << 64


def order_of(key: bytes, seed: int) -> int:
    """Returns the order hash of a key, in [0, 2^64). Records are sorted by it."""
    return _hash(b"order", key, seed)


def split_of(key: bytes, seed: int, splits: Mapping[str, Fraction]) -> str:
    """Returns the split of a key.

    Args:
        key: The key, or other bytes to split by, such as its folder.
        seed: Seed of the hash.
        splits: Share of each split, as `{split: share}`. The shares sum to 1.

    Raises:
        ValueError: The shares sum to less than 1.
    """
    split_hash = _hash(b"split", key, seed)
    for name, bound in _bounds(tuple(splits.items())):
        if split_hash < bound:
            return name
    raise ValueError(f"shares of splits must sum to 1, got {sum(splits.values())}")


@functools.cache
def _bounds(splits: tuple[tuple[str, Fraction], ...]) -> list[tuple[str, int]]:
    """Returns the upper bound of each split in the range of the hash."""
    upper = itertools.accumulate(share for _, share in splits)
    names = (name for name, _ in splits)
    return [
        (name, math.ceil(share * _HASH_RANGE))
        for name, share in zip(names, upper, strict=True)
    ]


def place_split(key: bytes, config: JobConfig, sha256: str = "") -> str:
    """Returns the split of a key, according to `split_by` of the configuration.

    Args:
        key: The key.
        config: Configuration with the splits and `split_by`: the key, its folder, or
            the content of the image.
        sha256: Hex digest of the image's bytes. If empty, the key is used instead.
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
    """Returns the number of the key range that contains an order hash."""
    return order * NUM_KEY_RANGES // _HASH_RANGE


def shard_of(order: int, num_shards: int) -> int:
    """Returns the index of the shard that contains an order hash."""
    return order * num_shards // _HASH_RANGE


def key_ranges_of_shard(index: int, num_shards: int) -> range:
    """Returns the numbers of the key ranges that overlap a shard."""
    first = index * NUM_KEY_RANGES // num_shards
    last = -(-(index + 1) * NUM_KEY_RANGES // num_shards)
    return range(first, last)


def share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Distributes `total` shards to splits in proportion to their sizes.

    Each split gets at least one shard. The remaining shards are distributed with the
    largest remainder method, and ties go to the earlier split. Example:
    `share_out(10, [90, 9, 1])` returns `[7, 2, 1]`.

    Raises:
        ValueError: There are fewer shards than splits.
    """
    if total < len(sizes):
        raise ValueError(f"{total} shards are fewer than {len(sizes)} splits")
    spare, total_size = total - len(sizes), sum(sizes)
    exact = [
        Fraction(spare * size, total_size) if total_size else Fraction(0)
        for size in sizes
    ]
    shares = [1 + int(share) for share in exact]
    by_remainder = sorted(
        range(len(sizes)), key=lambda index: int(exact[index]) - exact[index]
    )
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    if sum(shares) < total:  # All sizes are 0.
        shares[0] += total - sum(shares)
    return shares


def shards_by_size(num_bytes: int, shard_size: int) -> int:
    """Returns the number of shards of about `shard_size` bytes for `num_bytes`."""
    return max(1, (num_bytes + shard_size // 2) // shard_size)
