import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_order import (
    MASK,
    plain_blocks,
    plain_key,
    plain_order,
    plain_permutation,
    plain_streams,
    splitmix64,
)

from reader.shuffle.order import (
    NO_RECORD,
    PLAN_VERSION,
    Blocks,
    EpochOrder,
    ShuffledOrder,
    Window,
    WrittenOrder,
)
from reader.shuffle.randomness import permutation, random_bits, random_key
from reader.shuffle.shares import Share, Stretch

HOST_COUNTS = (1, 2, 3, 4, 8, 64, 192)


def blocks_of(shard_sizes: list[int]) -> Blocks:
    first = [block[0] for block in plain_blocks(shard_sizes)]
    return Blocks(np.array([*first, sum(shard_sizes)], np.int64))


def order_of(shard_sizes: list[int], seed: int = 0, rounds: int = 5) -> ShuffledOrder:
    return ShuffledOrder(blocks_of(shard_sizes), seed, rounds)


def numbers_of(
    order: ShuffledOrder | WrittenOrder, stretch: Stretch, share: Share
) -> list[int]:
    """Numbers of a host's records in a stretch."""
    windows = order.windows(stretch, share)
    return [number for window in windows for number in window.cut().numbers.tolist()]


def epoch_of(order: ShuffledOrder, epoch: int = 0) -> list[int]:
    return numbers_of(order, Stretch(epoch, 0, order.num_records), Share())


shards = st.lists(st.integers(0, 700), min_size=1, max_size=12).filter(any)
seeds = st.integers(0, 2**70)
few = settings(max_examples=40)


# Random numbers.


def test_random_bits_are_those_of_the_published_generator():
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert random_bits(1234567, np.arange(5)).tolist() == published
    assert splitmix64(1234567, 5) == published


@given(st.integers(0, MASK), st.lists(st.integers(0, 300)))
def test_random_bits_need_none_of_those_before(key, places):
    outputs = splitmix64(key, 301)
    bits = random_bits(key, np.array(places, np.int64))
    assert bits.tolist() == [outputs[place] for place in places]


@given(seeds, st.integers(0, 2**40))
def test_random_keys_are_digests_of_seed_and_epoch(seed, epoch):
    for use in ("blocks", "streams", "window"):
        assert random_key(use, seed, epoch) == plain_key(use, seed, epoch)


def test_random_keys_differ_for_each_use_seed_and_epoch():
    uses = ("blocks", "streams", "window")
    asked = list(itertools.product(uses, range(130), range(130)))
    assert len({random_key(*each) for each in asked}) == len(asked)


def test_a_permutation_sorts_by_random_bits():
    for num in (0, 1, 2, 65, 1000):
        assert permutation(num + 7, num).tolist() == plain_permutation(num + 7, num)


# The order of an epoch.


@few
@given(shards, seeds, st.integers(0, 10**6), st.integers(1, 40))
def test_order_is_that_of_a_plain_loop(shard_sizes, seed, epoch, rounds):
    order = order_of(shard_sizes, seed, rounds)
    assert epoch_of(order, epoch) == plain_order(shard_sizes, seed, epoch, rounds)


@pytest.mark.parametrize("rounds", [1, 7, 1000])
@pytest.mark.parametrize(
    "shard_sizes",
    [
        *([num] for num in (1, 2, 63, 64, 65, 191, 192, 193, 384, 12288, 12289)),
        [1] * 300,
        [0, 64, 0, 0, 128, 1, 0],
        [63, 65, 64, 1, 12345],
        [20000],
    ],
    ids=str,
)
def test_order_is_that_of_a_plain_loop_at_the_edges(shard_sizes, rounds):
    order = order_of(shard_sizes, 3, rounds)
    assert epoch_of(order, 2) == plain_order(shard_sizes, 3, 2, rounds)


def test_an_order_of_this_plan_version_never_changes():
    # A new plan version may change the order; it then rejects states of this version.
    assert PLAN_VERSION == 1
    orders = [epoch_of(order_of([1000, 500], 7, 2), epoch) for epoch in (0, 1)]
    assert [order[:6] for order in orders] == [
        [1023, 817, 1234, 478, 974, 1257],
        [665, 490, 1093, 997, 688, 579],
    ]


@few
@given(shards, seeds, st.integers(1, 40), st.sampled_from(HOST_COUNTS))
def test_each_record_comes_once_in_an_epoch(shard_sizes, seed, rounds, host_count):
    order = order_of(shard_sizes, seed, rounds)
    stretch = Stretch(4, 0, order.num_records)
    read = [
        number
        for host in range(host_count)
        for number in numbers_of(order, stretch, Share(host, host_count))
    ]
    assert sorted(read) == list(range(sum(shard_sizes)))


def test_streams_are_equal_but_for_one_record():
    for num in (1, 191, 192, 193, 5000):
        lengths = EpochOrder(blocks_of([num]), 0, 0, 192).lengths.tolist()
        expected = [num // 192 + (stream < num % 192) for stream in range(192)]
        assert lengths == expected
        assert sum(lengths) == num


def test_orders_differ_by_seed_and_by_epoch():
    orders = {
        tuple(epoch_of(order_of([900, 900], seed), epoch))
        for seed in range(12)
        for epoch in range(12)
    }
    assert len(orders) == 144


def test_an_order_depends_on_nothing_that_was_read_before():
    order = order_of([1000, 77], seed=5)
    fresh = {epoch: epoch_of(order_of([1000, 77], 5), epoch) for epoch in range(5)}
    for epoch in (4, 0, 2, 2, 1, 3, 0):
        assert epoch_of(order, epoch) == fresh[epoch]


def test_iterators_of_several_epochs_may_take_turns():
    order = order_of([3000], rounds=1)
    turns = zip(
        *(order.windows(Stretch(epoch, 0, 3000), Share()) for epoch in range(4)),
        strict=True,
    )
    mixed = [[window.cut().numbers.tolist() for window in turn] for turn in turns]
    for epoch, parts in enumerate(zip(*mixed, strict=True)):
        assert [n for part in parts for n in part] == epoch_of(order, epoch)


@pytest.mark.parametrize(
    ("shard_sizes", "rounds"),
    [
        ([1536], 100),
        ([1500], 2),
        ([700, 800], 2),
        ([12000], 21),
        ([12288], 21),
    ],
)
def test_each_record_may_come_anywhere_in_an_epoch(shard_sizes, rounds):
    num, epochs = sum(shard_sizes), 150
    order, places = order_of(shard_sizes, rounds=rounds), np.empty((epochs, num))
    for epoch in range(epochs):
        places[epoch, epoch_of(order, epoch)] = range(num)
    # Six standard deviations of the mean of that many uniform positions.
    means = places.mean(axis=0) / num
    assert abs(means - 0.5).max() < 6 / np.sqrt(12 * epochs)


def test_neighbors_that_share_a_window_come_in_either_order():
    num, epochs = 1536, 200
    after = np.zeros(num - 1)
    for epoch in range(epochs):
        places = np.argsort(epoch_of(order_of([num], rounds=100), epoch))
        after += np.diff(places) > 0
    # Six standard deviations of that many coin tosses.
    assert abs(after / epochs - 0.5).max() < 3 / np.sqrt(epochs)


# Hosts.


@few
@given(shards, st.integers(1, 12), st.sampled_from(HOST_COUNTS), st.data())
def test_hosts_take_positions_of_any_stretch_in_turn(
    shard_sizes, rounds, host_count, data
):
    num = sum(shard_sizes)
    start = data.draw(st.integers(0, num - 1))
    stop = data.draw(st.integers(start, num))
    whole = plain_order(shard_sizes, 8, 1, rounds)
    order = order_of(shard_sizes, 8, rounds)
    for host in range(host_count):
        mine = [whole[p] for p in range(start, stop) if p % host_count == host]
        assert (
            numbers_of(order, Stretch(1, start, stop), Share(host, host_count)) == mine
        )


@pytest.mark.parametrize("host_count", HOST_COUNTS)
def test_hosts_find_equally_many_records_in_any_batch(host_count):
    order, batch_size = order_of([5000, 1234], rounds=3), 192
    for start in (0, 1, 63, 100, 191, 192, 193, 575, 577, 6000):
        stretch = Stretch(0, start, start + batch_size)
        counts = {
            len(numbers_of(order, stretch, Share(host, host_count)))
            for host in range(host_count)
        }
        assert counts == {batch_size // host_count}


@pytest.mark.parametrize("host_count", [1, 4, 192])
def test_entering_anywhere_gives_the_rest(host_count):
    order, num = order_of([700, 1000, 1], rounds=2), 1701
    for host in {0, host_count - 1}:
        share = Share(host, host_count)
        whole = numbers_of(order, Stretch(0, 0, num), share)
        for start in range(0, num, 23):
            tail = numbers_of(order, Stretch(0, start, num), share)
            assert tail == whole[len(whole) - len(tail) :]
            assert len(tail) == sum(
                1 for p in range(start, num) if p % host_count == host
            )


def test_an_order_cut_anywhere_into_stretches_is_the_same():
    order, rng = order_of([4000, 321], rounds=3), np.random.default_rng(0)
    cuts = [0, *sorted(rng.integers(0, 4321, 30).tolist()), 4321]
    parts = [
        numbers_of(order, Stretch(6, *between), Share(1, 3))
        for between in itertools.pairwise(cuts)
    ]
    whole = numbers_of(order, Stretch(6, 0, 4321), Share(1, 3))
    assert [number for part in parts for number in part] == whole


@pytest.mark.parametrize("seed", [0, 1])
def test_each_stream_is_one_piece_of_each_block_it_touches(seed):
    sizes = [10_000, 1, 999, 30_000]
    order, stretch = order_of(sizes, seed), Stretch(3, 0, sum(sizes))
    blocks, num_cut = plain_blocks(sizes), 0
    block = {number: at for at, each in enumerate(blocks) for number in each}
    for stream in range(192):
        numbers = sorted(numbers_of(order, stretch, Share(stream, 192)))
        touched = Counter(block[number] for number in numbers)
        pieces = 1 + sum(
            number != before + 1 or block[number] != block[before]
            for before, number in itertools.pairwise(numbers)
        )
        assert pieces == len(touched)
        # The stream begins and ends inside a block; the blocks between are whole.
        cut = [each for each in touched if touched[each] < len(blocks[each])]
        assert len(cut) <= 2
        num_cut += len(cut)
    assert num_cut > 300


@pytest.mark.parametrize("host_count", [2, 4])
def test_a_host_touches_its_part_of_the_blocks_and_few_others(host_count):
    order = order_of([200_000, 100_001], rounds=100)
    stretch = Stretch(0, 0, order.num_records)
    starts = blocks_of([200_000, 100_001]).first[:-1]
    for host in range(host_count):
        numbers = numbers_of(order, stretch, Share(host, host_count))
        touched = np.unique(np.searchsorted(starts, numbers, side="right"))
        # Each stream of the host ends inside a block that it shares.
        assert len(touched) <= (len(starts) + 192) / host_count + 1


# Windows.


def plain_windows(
    whole: list[int], rounds: int, share: Share, start: int
) -> list[tuple[int, int, list[int]]]:
    """Windows of a host from `start` on: number, streams, numbers of records.

    They hold all records of the streams of which a record is read.
    """
    size, windows = rounds * 192, []
    for begin in range(0, len(whole), size):
        positions = range(begin, min(begin + size, len(whole)))
        mine = [p for p in positions if p % share.host_count == share.host_index]
        streams = {p % 192 for p in mine if p >= start}
        if streams:
            numbers = [whole[p] for p in mine if p % 192 in streams]
            windows.append((begin // size, len(streams), numbers))
    return windows


@pytest.mark.parametrize("share", [Share(), Share(2, 3), Share(5, 64)])
@pytest.mark.parametrize("start", [0, 100, 384, 1000, 2400])
def test_windows_are_whole_wherever_a_stretch_begins(share, start):
    order, whole = order_of([2500], 1, 2), plain_order([2500], 1, 0, 2)
    windows = order.windows(Stretch(0, start, 2500), share)
    assert [
        (window.number, window.columns, window.numbers.tolist()) for window in windows
    ] == plain_windows(whole, 2, share, start)


def test_a_window_keeps_what_the_stretch_means():
    order, whole = order_of([2500], 1, 2), plain_order([2500], 1, 0, 2)
    first, last = order.windows(Stretch(0, 500, 1000), Share(1, 4))
    assert (first.number, last.number) == (1, 2)
    # The host's positions are 385, 389, …; the first one from 500 on is 501.
    assert first.keep.tolist() == list(range((501 - 385) // 4, 384 // 4))
    assert last.keep.tolist() == list(range((1001 - 769) // 4))
    assert first.cut().numbers.tolist() == whole[501:768:4]
    assert last.cut().numbers.tolist() == whole[769:1000:4]


def test_a_cut_window_has_nothing_left_to_cut():
    keep = np.array([2, 3, 5, 8])
    window = Window(np.arange(10, 20), 3, keep, 5, np.zeros(10, np.int64))
    cut = window.cut()
    assert cut.numbers.tolist() == [12, 13, 15, 18]
    assert (cut.columns, cut.keep.tolist(), cut.number) == (3, [0, 1, 2, 3], 5)


@pytest.mark.parametrize("share", [Share(), Share(1, 2), Share(40, 64)])
def test_records_of_a_window_are_of_so_many_streams_in_turn(share):
    order = order_of([3333], rounds=4)
    of_stream = {
        number: stream
        for stream, numbers in enumerate(plain_streams(plain_blocks([3333]), 0, 0))
        for number in numbers
    }
    for window in order.windows(Stretch(0, 0, 3333), share):
        for place, number in enumerate(window.numbers.tolist()):
            column = place % window.columns
            assert of_stream[number] == share.host_index + column * share.host_count


@few
@given(
    st.integers(1, 1500),
    st.integers(1, 3),
    st.sampled_from((192, 384, 960)),
    st.sampled_from(HOST_COUNTS),
    st.integers(0, 1500),
)
def test_a_batch_beyond_the_last_record_is_filled_up(
    num, rounds, batch_size, host_count, start
):
    start = min(start, num - 1)
    stop = start + -(-(num - start) // batch_size) * batch_size
    whole = plain_order([num], 2, 0, rounds) + [NO_RECORD] * batch_size
    order = order_of([num], 2, rounds)
    for host in {0, host_count // 2, host_count - 1}:
        share = Share(host, host_count)
        mine = [whole[p] for p in range(start, stop) if p % host_count == host]
        assert len(mine) == (stop - start) // host_count
        assert numbers_of(order, Stretch(0, start, stop), share) == mine


# The order in which records were written.


@given(
    st.integers(1, 300),
    st.integers(1, 5),
    st.sampled_from((1, 2, 3, 4, 6)),
    st.integers(1, 4),
    st.integers(0, 300),
    st.integers(0, 3),
)
def test_written_order_gives_each_host_a_piece_of_each_batch(
    num, host_batch, host_count, batches, start, epoch
):
    batch_size = host_batch * host_count
    start = min(start, num - 1)
    for stop in range(start, num + batch_size, batch_size):
        order = WrittenOrder(num, batch_size, batches)
        for host in range(host_count):
            mine = []
            for begin in range(start, stop, batch_size):
                batch = [n if n < num else -1 for n in range(begin, begin + batch_size)]
                mine += batch[host * host_batch : (host + 1) * host_batch]
            stretch = Stretch(epoch, start, stop)
            assert numbers_of(order, stretch, Share(host, host_count)) == mine


def test_windows_of_the_written_order_hold_so_many_batches():
    windows = WrittenOrder(1000, 8, 3).windows(Stretch(0, 16, 16 + 80), Share(1, 2))
    assert [len(window.numbers) for window in windows] == [12, 12, 12, 4]
