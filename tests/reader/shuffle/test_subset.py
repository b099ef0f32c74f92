from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_order import plain_blocks, plain_order, plain_order_of

from reader.shuffle.order import NO_RECORD, Blocks, ShuffledOrder, WrittenOrder
from reader.shuffle.shares import Share, Stretch
from reader.shuffle.subset import (
    NOT_CHOSEN,
    Chosen,
    JoinedSubsets,
    KeptRecords,
    WeightedRecords,
    every,
    pack,
    unpack,
)

ALONE = Share()
few = settings(max_examples=30)
shard_sizes = st.lists(st.integers(0, 700), min_size=1, max_size=6)
seeds = st.integers(0, 2**40)
shares_kept = st.sampled_from([0.004, 0.05, 0.3, 0.5, 0.97, 1.0])


def blocks_of(sizes: list[int]) -> Blocks:
    return Blocks(np.array([*(b[0] for b in plain_blocks(sizes)), sum(sizes)]))


def some_kept(seed: int, share: float, num: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keep = rng.random(num) < share
    if rng.random() < 0.3:
        keep[: num // 2] = False  # Whole shards without any.
    return keep


def planned_blocks(sizes: list[int], keep: np.ndarray) -> list[list[int]]:
    """Planned numbers of the kept records of each block, which may have none."""
    blocks, begin = [], 0
    for block in plain_blocks(sizes):
        num = sum(bool(keep[number]) for number in block)
        blocks.append([*range(begin, begin + num)])
        begin += num
    return blocks


def records_of(order, subset, stretch: Stretch, share: Share = ALONE):
    """Record numbers, and epochs to draw for, of a stretch."""
    windows = [window.cut() for window in order.windows(stretch, share)]
    found = [subset.records(w.numbers, w.epochs) for w in windows]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


@few
@given(shard_sizes, seeds, shares_kept)
def test_words_hold_what_is_kept(sizes, seed, share):
    keep = some_kept(seed, share, sum(sizes))
    words = pack(keep, sizes)
    assert words.dtype == np.uint64
    assert len(words) == len(plain_blocks(sizes))
    for word, block in zip(words.tolist(), plain_blocks(sizes), strict=True):
        assert word == sum(1 << place for place, n in enumerate(block) if keep[n])
    assert unpack(words, sizes).tolist() == keep.tolist()
    assert Chosen(words).num_records == keep.sum()
    all_words = pack(np.ones(sum(sizes), bool), sizes)
    assert every(sizes).tolist() == all_words.tolist()


@few
@given(shard_sizes, seeds, shares_kept)
def test_planned_numbers_count_the_kept_records(sizes, seed, share):
    keep = some_kept(seed, share, sum(sizes))
    subset = KeptRecords(pack(keep, sizes), blocks_of(sizes))
    kept = np.flatnonzero(keep)
    assert subset.num_records == len(kept)
    planned = np.array([*range(len(kept)), NO_RECORD])
    numbers, epochs = subset.records(planned, planned + 7)
    assert numbers.tolist() == [*kept.tolist(), NO_RECORD]
    assert epochs.tolist() == (planned + 7).tolist()
    places = np.full(len(keep), NOT_CHOSEN)
    places[kept] = range(len(kept))
    assert subset.planned(np.arange(len(keep))).tolist() == places.tolist()


@few
@given(shard_sizes, seeds, shares_kept, st.integers(1, 9))
def test_the_order_is_that_of_the_kept_records_alone(sizes, seed, share, rounds):
    keep = some_kept(seed, share, sum(sizes))
    subset = KeptRecords(pack(keep, sizes), blocks_of(sizes))
    kept = np.flatnonzero(keep).tolist()
    if not kept:
        return
    order = ShuffledOrder(subset, seed, rounds)
    numbers, _ = records_of(order, subset, Stretch(2, 0, len(kept)))
    expected = plain_order_of(planned_blocks(sizes, keep), seed, 2, rounds)
    assert numbers.tolist() == [kept[planned] for planned in expected]


@few
@given(shard_sizes.filter(any), seeds, st.integers(1, 9))
def test_a_subset_of_all_has_the_order_of_all(sizes, seed, rounds):
    every = np.ones(sum(sizes), bool)
    subset = KeptRecords(pack(every, sizes), blocks_of(sizes))
    order = ShuffledOrder(subset, seed, rounds)
    numbers, _ = records_of(order, subset, Stretch(1, 0, sum(sizes)))
    assert numbers.tolist() == plain_order(sizes, seed, 1, rounds)


@few
@given(
    shard_sizes,
    seeds,
    shares_kept,
    st.sampled_from([(24, 1), (24, 8), (60, 5), (384, 128)]),
    st.data(),
)
def test_hosts_share_each_batch_from_any_step(sizes, seed, share, run, data):
    keep = some_kept(seed, share, sum(sizes))
    size, num_hosts = run
    subset = KeptRecords(pack(keep, sizes), blocks_of(sizes))
    steps = subset.num_records // size
    if not steps:
        return
    order = ShuffledOrder(subset, seed, 3)
    whole, _ = records_of(order, subset, Stretch(0, 0, steps * size))
    step = data.draw(st.integers(0, steps - 1))
    stretch = Stretch(0, step * size, steps * size)
    parts = [
        records_of(order, subset, stretch, Share(host, num_hosts, size))[0]
        for host in range(num_hosts)
    ]
    batches = np.concatenate([part.reshape(steps - step, -1) for part in parts], axis=1)
    expected = whole[step * size :].reshape(steps - step, size)
    assert np.sort(batches).tolist() == np.sort(expected).tolist()


def test_written_order_keeps_the_order_and_pads():
    sizes = [130, 0, 70]
    keep = some_kept(5, 0.4, 200)
    subset, kept = (
        KeptRecords(pack(keep, sizes), blocks_of(sizes)),
        np.flatnonzero(keep),
    )
    order = WrittenOrder(subset.num_records, 24, 2)
    stop = -(-len(kept) // 24) * 24
    numbers, _ = records_of(order, subset, Stretch(0, 0, stop))
    assert numbers[: len(kept)].tolist() == kept.tolist()
    assert (numbers[len(kept) :] == NO_RECORD).all()


# Weights.


def weights_of(seed: int, num: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([0, 1, 3, 100, 256, 300, 777], num).astype(np.uint16)


def layers_of(weights: np.ndarray) -> list[list[int]]:
    """Each layer's part of each weight, without what is never taken at the end."""
    layers = [
        [min(max(int(w) - 256 * layer, 0), 256) for w in weights]
        for layer in range(-(-int(weights.max()) // 256))
    ]
    left = sum(map(sum, layers)) % 256
    for layer in reversed(layers):
        for place in reversed(range(len(layer))):
            taken = min(left, layer[place])
            layer[place] -= taken
            left -= taken
    return layers


def test_less_than_one_record_is_lost_in_all():
    weights = np.array([128, 384, 640, 896, 1152], np.uint16)  # 0.5 to 4.5.
    subset = WeightedRecords(weights, blocks_of([5]), 3)
    assert subset.num_records == 12
    total = Counter()
    for epoch in range(256):
        numbers, _ = subset.records(np.arange(12), np.full(12, epoch))
        total.update(numbers.tolist())
    assert [total[n] for n in range(5)] == [128, 384, 640, 896, 1152 - 128]


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_exact_over_256_epochs(seed):
    sizes = [300, 0, 129, 640]
    weights = weights_of(seed, sum(sizes))
    subset = WeightedRecords(weights, blocks_of(sizes), seed)
    layers = np.array(layers_of(weights))
    assert subset.num_records == layers.sum() // 256
    order, total = ShuffledOrder(subset, seed, 2), Counter()
    for epoch in range(256):
        numbers, _ = records_of(order, subset, Stretch(epoch, 0, subset.num_records))
        assert len(numbers) == subset.num_records
        copies = np.bincount(numbers, minlength=len(weights))
        assert (copies >= (layers // 256).sum(axis=0)).all()
        assert (copies <= (-(-layers // 256)).sum(axis=0)).all()
        total.update(numbers.tolist())
    assert [total[n] for n in range(len(weights))] == layers.sum(axis=0).tolist()


def test_copies_draw_other_numbers_and_lie_apart():
    num = 64 * 400
    weights = np.full(num, 512, np.uint16)
    subset = WeightedRecords(weights, blocks_of([num]), 0)
    order = ShuffledOrder(subset, 0, 13)
    numbers, epochs = records_of(order, subset, Stretch(3, 0, 2 * num))
    assert len({*zip(numbers.tolist(), epochs.tolist(), strict=True)}) == 2 * num
    assert {*epochs.tolist()} == {3, 3 + (1 << 32)}
    first, second = np.argsort(numbers, kind="stable").reshape(num, 2).T
    apart = np.abs(first - second)
    # Of two random places, the median distance is 1 - √½ = 0.293 of all places.
    assert abs(np.median(apart) / (2 * num) - 0.293) < 0.05
    window = 13 * 192
    assert (apart < window).mean() < 2 * window / (2 * num) * 1.3


def test_weights_of_one_are_a_subset():
    sizes = [130, 64, 7]
    keep = some_kept(1, 0.5, 201)
    weighted = WeightedRecords(keep.astype(np.uint16) * 256, blocks_of(sizes), 9)
    plain = KeptRecords(pack(keep, sizes), blocks_of(sizes))
    planned = np.arange(plain.num_records)
    for epoch in (0, 5):
        epochs = np.full(len(planned), epoch)
        assert weighted.blocks_of(epoch).first.tolist() == (
            plain.blocks_of(epoch).first.tolist()
        )
        for mine, theirs in zip(
            weighted.records(planned, epochs),
            plain.records(planned, epochs),
            strict=True,
        ):
            assert mine.tolist() == theirs.tolist()


def test_no_weight_at_all_is_no_record():
    for weights in ([0, 0, 0], [100, 100, 0], []):
        subset = WeightedRecords(
            np.array(weights, np.uint16), blocks_of([len(weights)]), 0
        )
        assert subset.num_records == 0


def test_subsets_of_several_datasets_are_numbered_end_to_end():
    one, two = [100, 30], [64, 64, 5]
    keep = some_kept(2, 0.6, 133)
    kept = KeptRecords(pack(keep, two), blocks_of(two))
    joined = JoinedSubsets([(None, 130), (kept, 133), (None, 130)])
    assert joined.num_records == 130 + keep.sum() + 130
    planned = np.arange(-1, joined.num_records)
    numbers, epochs = joined.records(planned, planned)
    chosen = (130 + np.flatnonzero(keep)).tolist()
    assert numbers.tolist() == [-1, *range(130), *chosen, *range(263, 393)]
    assert epochs.tolist() == planned.tolist()
    assert sum(one) == 130
