"""Tests splits, order and shards of keys, which are pure functions of hashes."""

import random
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from beam_jobs.planning.key_order import (
    NUM_KEY_RANGES,
    key_range_of,
    key_ranges_of_shard,
    order_of,
    shard_of,
    shards_by_size,
    share_out,
    split_of,
)

SPLITS = {
    "train": Fraction(8, 10),
    "validation": Fraction(1, 10),
    "test": Fraction(1, 10),
}
KEYS = [f"folder/{number:06d}".encode() for number in range(20_000)]

# Files on disk depend on these values, so they must never change.
FROZEN = [
    (b"", 0, 4567218436887915570, "train"),
    (b"a", 0, 15733899935196386316, "train"),
    (b"a", 1, 8160956640008040757, "test"),
    (b"a", -1, 16328240784431009604, "test"),
    (b"park/0042", 0, 4903291201347977906, "train"),
    (b"caf\xc3\xa9", 0, 4602071959834945202, "train"),
    (b"caf\xe9", 0, 17485097982845389601, "train"),
    (b"1:a", 0, 6209979873079232087, "test"),
    (b"a", 1099511627776, 14097298259580009929, "train"),
    (b"park/0000", 7, 13029929529288829092, "train"),
    (b"park/0001", 7, 3001220042278529536, "validation"),
    (b"park/0003", 7, 4524515541780034057, "test"),
]

ORDERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**63, 2**64 - 1])
SEEDS = st.integers(-(2**70), 2**70)


@pytest.mark.parametrize(("key", "seed", "order", "split"), FROZEN)
def test_hashes_are_what_they_always_were(key, seed, order, split):
    assert order_of(key, seed) == order
    assert split_of(key, seed, SPLITS) == split


def test_hashes_do_not_depend_on_the_process():
    key, seed, order, _ = FROZEN[4]
    code = (
        "from beam_jobs.planning.key_order import order_of; "
        f"print(order_of({key!r}, {seed}))"
    )
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        assert int(printed) == order


@settings(max_examples=200)
@given(st.binary(max_size=50), SEEDS)
def test_an_order_is_an_unsigned_integer_of_64_bits(key, seed):
    assert 0 <= order_of(key, seed) < 2**64
    assert order_of(key, seed) == order_of(key, seed)


@given(st.binary(max_size=50), SEEDS, SEEDS)
def test_another_seed_gives_another_order(key, seed, other):
    assume(seed != other)
    assert order_of(key, seed) != order_of(key, other)


def test_a_seed_and_a_key_cannot_be_mistaken_for_another_pair_of_these():
    assert order_of(b"1:a", 0) != order_of(b":1:a", 0)
    assert len({order_of(b"2:x", 1), order_of(b"x", 12), order_of(b"x", 1)}) == 3


def test_no_two_keys_share_an_order():
    assert len({order_of(key, 0) for key in KEYS}) == len(KEYS)


def test_neighbours_by_name_are_spread_over_the_order():
    key_ranges = Counter(key_range_of(order_of(key, 0)) for key in KEYS)
    mean = len(KEYS) / NUM_KEY_RANGES
    assert set(key_ranges) == set(range(NUM_KEY_RANGES))
    # A Poisson variable of mean 78 leaves this range once in 10^8.
    assert mean - 5.7 * mean**0.5 < min(key_ranges.values())
    assert max(key_ranges.values()) < mean + 5.7 * mean**0.5


# Splits.

SHARES = st.lists(st.integers(1, 50), min_size=1, max_size=6)


@settings(max_examples=25)
@given(SHARES, st.integers(0, 1000))
def test_splits_get_about_their_shares(parts, seed):
    splits = {f"s{n}": Fraction(part, sum(parts)) for n, part in enumerate(parts)}
    keys = KEYS[:4000]
    counts = Counter(split_of(key, seed, splits) for key in keys)
    for name, share in splits.items():
        sigma = (len(keys) * share * (1 - share)) ** 0.5
        assert abs(counts[name] - len(keys) * share) <= 5 * sigma + 1


@given(st.binary(max_size=50), SEEDS, SHARES)
def test_every_key_has_a_split_and_always_the_same(key, seed, parts):
    splits = {f"s{n}": Fraction(part, sum(parts)) for n, part in enumerate(parts)}
    split = split_of(key, seed, splits)
    assert split in splits
    assert split_of(key, seed, dict(splits)) == split


def test_one_split_takes_all():
    assert {split_of(key, 0, {"all": Fraction(1)}) for key in KEYS} == {"all"}


def test_shares_that_no_binary_fraction_has_leave_no_key_without_a_split():
    thirds = {name: Fraction(1, 3) for name in "abc"}
    assert {split_of(key, 3, thirds) for key in KEYS} == set("abc")


def test_shares_that_do_not_sum_to_1_are_an_error():
    with pytest.raises(ValueError, match="must sum to 1, got 1/1000"):
        for key in KEYS:
            split_of(key, 0, {"train": Fraction(1, 1000)})


def test_a_larger_training_split_keeps_the_keys_that_it_had():
    def training(share: Fraction) -> set[bytes]:
        splits = {"train": share, "validation": 1 - share}
        return {key for key in KEYS if split_of(key, 0, splits) == "train"}

    assert training(Fraction(1, 2)) < training(Fraction(3, 4))


def test_splits_and_order_are_independent():
    # The share of a split is the same in each tenth of the order.
    tenths: dict[int, list[bool]] = {tenth: [] for tenth in range(10)}
    for key in KEYS:
        in_test = split_of(key, 0, SPLITS) != "train"
        tenths[order_of(key, 0) * 10 // 2**64].append(in_test)
    for places in tenths.values():
        share = sum(places) / len(places)
        assert abs(share - 0.2) < 5 * (0.2 * 0.8 / len(places)) ** 0.5


# Shards and key ranges.


@given(ORDERS, st.integers(1, 100_000))
def test_each_order_is_in_exactly_one_shard(order, num_shards):
    shard = shard_of(order, num_shards)
    assert 0 <= shard < num_shards
    # The range of the shard, as fractions of the range of the hash.
    assert Fraction(shard, num_shards) <= Fraction(order, 2**64)
    assert Fraction(order, 2**64) < Fraction(shard + 1, num_shards)


@given(ORDERS, ORDERS, st.integers(1, 100_000))
def test_shards_follow_the_order(one, other, num_shards):
    low, high = sorted((one, other))
    assert shard_of(low, num_shards) <= shard_of(high, num_shards)
    assert key_range_of(low) <= key_range_of(high)


@given(ORDERS, st.integers(1, 5_000))
def test_a_key_lies_in_a_key_range_of_its_shard(order, num_shards):
    shard = shard_of(order, num_shards)
    assert key_range_of(order) in key_ranges_of_shard(shard, num_shards)


@pytest.mark.parametrize(
    "num_shards",
    [*range(1, 41), 255, 256, 257, 300, 512, 1000, 1024, 4097],
)
def test_the_key_ranges_of_a_shard_are_those_that_hold_its_keys(num_shards):
    """Checks key ranges against both ends of each shard's range."""
    for shard in range(num_shards):
        # The smallest and the largest order of the shard.
        first = -(-shard * 2**64 // num_shards)
        last = -(-(shard + 1) * 2**64 // num_shards) - 1
        assert shard_of(first, num_shards) == shard == shard_of(last, num_shards)
        assert key_ranges_of_shard(shard, num_shards) == range(
            key_range_of(first), key_range_of(last) + 1
        )


@settings(max_examples=30)
@given(st.integers(1, 700), st.integers(0, 10_000))
def test_every_key_is_met_once_by_going_through_the_shards_key_ranges(num_shards, seed):
    rng = random.Random(seed)
    orders = [rng.randrange(2**64) for _ in range(300)]
    key_ranges: dict[int, list[int]] = {}
    for order in orders:
        key_ranges.setdefault(key_range_of(order), []).append(order)
    met = [
        order
        for shard in range(num_shards)
        for key_range in key_ranges_of_shard(shard, num_shards)
        for order in key_ranges.get(key_range, ())
        if shard_of(order, num_shards) == shard
    ]
    assert sorted(met) == sorted(orders)


# Distribution of shards to splits.

SIZES = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


@given(SIZES, st.integers(0, 10_000))
def test_shards_are_shared_out_exactly_and_each_split_gets_one(sizes, spare):
    total = len(sizes) + spare
    shares = share_out(total, sizes)
    assert sum(shares) == total
    assert min(shares) >= 1


@given(SIZES, st.integers(0, 10_000))
def test_a_larger_split_never_gets_fewer_shards(sizes, spare):
    shares = share_out(len(sizes) + spare, sizes)
    for (size, share), (other, others) in pairwise(
        sorted(zip(sizes, shares, strict=True))
    ):
        assert share <= others or size == other


@given(SIZES, st.integers(0, 10_000))
def test_shares_are_within_one_of_the_exact_ones(sizes, spare):
    assume(any(sizes))
    for size, share in zip(sizes, share_out(len(sizes) + spare, sizes), strict=True):
        assert abs(share - 1 - Fraction(spare * size, sum(sizes))) < 1


@pytest.mark.parametrize(
    ("total", "sizes", "shares"),
    [
        (10, [90, 9, 1], [7, 2, 1]),
        (1, [5], [1]),
        (64, [1000], [64]),
        (3, [1, 1, 1], [1, 1, 1]),
        (4, [1, 1, 1], [2, 1, 1]),
        (5, [0, 0], [3, 2]),
        (5, [0, 7], [1, 4]),
        (100, [98, 2], [97, 3]),
    ],
)
def test_known_shares(total, sizes, shares):
    assert share_out(total, sizes) == shares


def test_fewer_shards_than_splits_are_an_error():
    with pytest.raises(ValueError, match="2 shards are fewer than 3 splits"):
        share_out(2, [1, 1, 1])


@given(st.integers(0, 10**15), st.integers(1, 10**10))
def test_shards_are_as_near_to_their_size_as_a_whole_number_lets_them(num, size):
    shards = shards_by_size(num, size)
    assert shards >= 1
    assert abs(shards * size - num) <= max(size / 2, size - num)


@pytest.mark.parametrize(
    ("num_bytes", "shards"),
    [(0, 1), (1, 1), (100, 1), (149, 1), (150, 2), (249, 2), (250, 3), (10_000, 100)],
)
def test_known_numbers_of_shards(num_bytes, shards):
    assert shards_by_size(num_bytes, 100) == shards
