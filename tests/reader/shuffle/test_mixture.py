import hashlib
import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.shuffle.mixture import (
    PATTERN_TURNS,
    MixedOrder,
    Part,
    share_turns,
    spread_turns,
    stream_phases,
)
from reader.shuffle.order import NUM_STREAMS, Blocks, ShuffledOrder
from reader.shuffle.shares import Share, Stretch

HOST_COUNTS = (1, 2, 3, 4, 8, 64, 192)
MASK = 2**64 - 1

weight_lists = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


# A plain and slow reference implementation of the order.


def plain_bits(key: int, number: int) -> int:
    """Output `number` of Vigna's SplitMix64, seeded with `key`."""
    state = (key + (number + 1) * 0x9E3779B97F4A7C15) & MASK
    bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def plain_key(use: str, seed: str, epoch: int) -> int:
    digest = hashlib.blake2b(digest_size=8, person=use.encode())
    digest.update(f"{seed}:{epoch}".encode())
    return int.from_bytes(digest.digest(), "little")


def plain_permutation(use: str, seed: str, epoch: int, num: int) -> list[int]:
    key = plain_key(use, seed, epoch)
    return sorted(range(num), key=lambda at: plain_bits(key, at))


def plain_part(num_records: int, seed: str, epoch: int) -> list[int]:
    """Order of a part's epoch before windows are shuffled; the part has one shard."""
    records = range(num_records)
    blocks = [list(records[at : at + 64]) for at in range(0, num_records, 64)]
    line = [
        number
        for block in plain_permutation("blocks", seed, epoch, len(blocks))
        for number in blocks[block]
    ]
    shift = plain_key("shift", seed, epoch) % num_records
    line = line[shift:] + line[:shift]
    streams, at = {}, 0
    for stream in plain_permutation("streams", seed, epoch, 192):
        length = num_records // 192 + (1 if stream < num_records % 192 else 0)
        streams[stream] = line[at : at + length]
        at += length
    return [streams[at % 192][at // 192] for at in range(num_records)]


def plain_phases() -> list[int]:
    """Start of each stream in the pattern, random within a section of its own."""
    key = plain_key("phases", 0, 0)
    parts = plain_permutation("phases", 0, 0, 192)
    return [
        (parts[stream] * 4096 + plain_bits(key, 192 + stream) % 4096) // 192
        for stream in range(192)
    ]


def plain_mixture(
    sizes: list[int], pattern: list[int], rounds: int, num_windows: int
) -> list[int]:
    """The first windows of a mixture; counts the turns of each part one by one."""
    lines = [[] for _ in sizes]  # Of (epoch, record), epoch after epoch.

    def example(part: int, at: int) -> tuple[int, int]:
        while len(lines[part]) <= at:
            epoch = len(lines[part]) // sizes[part]
            records = plain_part(sizes[part], f"7/{part}", epoch)
            lines[part] += [(epoch, record) for record in records]
        return lines[part][at]

    had = Counter()
    order = []
    phases = plain_phases()
    for window in range(num_windows):
        columns = []
        for stream in range(192):
            taken = defaultdict(list)
            whose = []
            for round_ in range(window * rounds, (window + 1) * rounds):
                part = pattern[(phases[stream] + round_) % len(pattern)]
                epoch, record = example(part, had[part, stream] * 192 + stream)
                bits = plain_bits(plain_key("window", f"7/{part}", epoch), record)
                taken[part].append((bits, record))
                had[part, stream] += 1
                whose.append(part)
            sorted_ = {part: iter(sorted(some)) for part, some in taken.items()}
            begins = [0, *itertools.accumulate(sizes)]
            columns.append([begins[part] + next(sorted_[part])[1] for part in whose])
        order += [
            columns[stream][row] for row in range(rounds) for stream in range(192)
        ]
    return order


# The code under test.


def mixed(sizes: list[int], weights: list[float], rounds: int = 3) -> MixedOrder:
    parts, begin = [], 0
    for place, size in enumerate(sizes):
        blocks = Blocks(np.array([*range(0, size, 64), size]))
        parts.append(Part(ShuffledOrder(blocks, f"7/{place}", rounds), begin))
        begin += size
    return MixedOrder(parts, weights, rounds)


def numbers(
    order: MixedOrder,
    start: int,
    stop: int,
    host_index: int = 0,
    host_count: int = 1,
    batch_size: int = 0,
) -> np.ndarray:
    share = Share(host_index, host_count, batch_size)
    windows = order.windows(Stretch(0, start, stop), share)
    return np.concatenate([window.cut().numbers for window in windows])


@pytest.mark.parametrize(
    ("sizes", "weights", "rounds", "num_windows"),
    [
        ([1000, 500], [3, 1], 3, 4),
        ([1, 3, 700], [1, 2, 5], 2, 5),
        ([3, 1], [0.5, 0.5], 4, 2),
        ([193, 64, 65], [10, 1, 0.01], 1, 9),
        ([250], [2], 5, 2),
    ],
)
def test_mixture_is_that_of_a_plain_loop(
    sizes: list[int], weights: list[float], rounds: int, num_windows: int
) -> None:
    pattern = spread_turns(share_turns(weights)).tolist()
    expected = plain_mixture(sizes, pattern, rounds, num_windows)
    order = mixed(sizes, weights, rounds)
    assert numbers(order, 0, len(expected)).tolist() == expected


def counts_in_stretches(weights: list[float], length: int) -> list[np.ndarray]:
    """Records of each part in every stretch of a length in the first 50,000."""
    size = 1000
    whose = numbers(mixed([size] * len(weights), weights), 0, 50_000) // size
    had = [
        np.concatenate([[0], np.cumsum(whose == index)])
        for index in range(len(weights))
    ]
    return [sums[length:] - sums[:-length] for sums in had]


@pytest.mark.parametrize(
    "weights", [[3, 1], [1, 1, 1], [0.7, 0.3], [0.9, 0.1], [5, 2.5, 1, 0.3], [1] * 7]
)
@pytest.mark.parametrize("length", [2000, 4000, 20_000])
def test_every_stretch_has_the_right_share_of_each_part(
    weights: list[float], length: int
) -> None:
    for counts, weight in zip(
        counts_in_stretches(weights, length), weights, strict=True
    ):
        exact = length * weight / sum(weights)
        # A pattern is accurate to one turn in 4096. With random draws, the largest
        # error would be about four standard deviations: 110 for a quarter of 4000.
        assert np.abs(counts - exact).max() <= 30 + length / PATTERN_TURNS


@pytest.mark.parametrize(
    "weight",
    [
        *(0.5, 0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.005),
    ],
)
def test_shares_of_stretches_vary_less_than_by_lot(weight: float) -> None:
    length = 1000
    _, counts = counts_in_stretches([1 - weight, weight], length)
    assert counts.std() <= np.sqrt(length * weight * (1 - weight))


@pytest.mark.parametrize("begin", [10**6, 10**9 + 7, 10**12])
def test_shares_are_right_far_from_the_beginning(begin: int) -> None:
    read = numbers(mixed([1000, 300], [3, 1]), begin, begin + 8000)
    assert abs(np.count_nonzero(read < 1000) - 6000) < 20


@pytest.mark.parametrize("sizes", [[1000, 300, 700], [1, 3, 2000], [192, 64, 5]])
def test_records_of_a_part_come_equally_often(sizes: list[int]) -> None:
    num = 6_000
    counts = np.bincount(numbers(mixed(sizes, [2, 1, 1]), 0, num), minlength=sum(sizes))
    begins = [0, *itertools.accumulate(sizes)]
    for begin, end, share in zip(begins[:-1], begins[1:], (2, 1, 1), strict=True):
        each = num * share / 4 / (end - begin)
        # Streams differ by at most one turn; 192 turns may repeat a few records often.
        apart = 2 + 2 * 192 / (end - begin)
        off = np.abs(counts[begin:end] - each).max()
        assert off <= apart


def test_each_record_comes_before_any_comes_a_third_time() -> None:
    sizes = [2000, 1000]
    for begin, size in ((0, 2000), (2000, 1000)):
        seen: Counter[int] = Counter()
        for number in numbers(mixed(sizes, [1, 1], rounds=2), 0, 20_000).tolist():
            if begin <= number < begin + size:
                seen[number] += 1
                if seen[number] == 3:
                    break
        assert len(seen) == size


@pytest.mark.parametrize("sizes", [[1], [3], [1, 3], [3, 1, 1]])
def test_parts_of_few_records_are_repeated(sizes: list[int]) -> None:
    read = numbers(mixed(sizes, [1] * len(sizes)), 0, 2000)
    assert set(read.tolist()) == set(range(sum(sizes)))


@pytest.mark.parametrize("host_count", [1, 4, 192])
def test_a_mixture_entered_anywhere_is_the_tail_of_one_from_the_beginning(
    host_count: int,
) -> None:
    order, host, stop = mixed([700, 1, 90], [5, 1, 3]), host_count - 1, 6000
    from_start = numbers(order, 0, stop, host, host_count)
    for start in (1, 191, 192, 575, 576, 577, 1234, 4321, 5759, 5760, 5800):
        skipped = len(range(host, start, host_count))
        entered = numbers(order, start, stop, host, host_count)
        assert entered.tolist() == from_start[skipped:].tolist()


@pytest.mark.parametrize("host_count", HOST_COUNTS)
def test_hosts_share_out_any_stretch_of_a_mixture(host_count: int) -> None:
    order = mixed([700, 90], [5, 3])
    for start, stop in ((0, 960), (191, 1535), (10**7 + 5, 10**7 + 1925)):
        of_all = numbers(order, start, stop).tolist()
        for host in range(host_count):
            mine = [
                number
                for at, number in zip(range(start, stop), of_all, strict=True)
                if at % host_count == host
            ]
            assert numbers(order, start, stop, host, host_count).tolist() == mine


@pytest.mark.parametrize("host_count", [5, 7, 40, 128, 1000])
def test_any_number_of_hosts_shares_the_batches_of_a_mixture(host_count: int) -> None:
    order, size = mixed([700, 90, 311], [5, 3, 1], rounds=4), 3 * host_count
    start, stop = 1234, 1234 + 6 * size
    of_all = numbers(order, start, stop).reshape(6, size)
    hosts = [
        numbers(order, start, stop, host, host_count, size).reshape(6, 3)
        for host in range(host_count)
    ]
    together = np.concatenate(hosts, axis=1)
    assert (np.sort(together, axis=1) == np.sort(of_all, axis=1)).all()


def test_windows_of_a_mixture_are_whole_wherever_it_is_entered() -> None:
    order, share = mixed([700, 90], [5, 3], rounds=4), Share(1, 2)
    windows = list(order.windows(Stretch(0, 0, 3000), share))
    assert [window.number for window in windows] == [0, 1, 2, 3]
    assert {window.columns for window in windows} == {96}
    entered = list(order.windows(Stretch(0, 1000, 2000), share))
    assert [window.number for window in entered] == [1, 2]
    for window in entered:
        same = windows[window.number]
        assert window.numbers.tolist() == same.numbers.tolist()


def test_two_parts_of_one_dataset_have_orders_of_their_own() -> None:
    read = numbers(mixed([500, 500], [1, 1]), 0, 1000)
    first, second = read[read < 500], read[read >= 500] - 500
    num = min(len(first), len(second))
    assert np.count_nonzero(first[:num] == second[:num]) < 20


@given(weights=weight_lists)
def test_turns_are_shared_to_within_one_where_no_weight_is_tiny(
    weights: list[float],
) -> None:
    turns = share_turns(weights)
    exact = [weight / sum(weights) * PATTERN_TURNS for weight in weights]
    assert sum(turns) == PATTERN_TURNS
    if min(exact) >= 1:
        for turn, share in zip(turns, exact, strict=True):
            assert abs(turn - share) <= 1 + 1e-6


@given(weights=weight_lists, factor=st.sampled_from([0.125, 2, 1024]))
def test_only_ratios_of_weights_count(weights: list[float], factor: float) -> None:
    assert share_turns([weight * factor for weight in weights]) == share_turns(weights)


def test_turns_are_whole_numbers_of_python() -> None:
    # A state stores them as JSON, which NumPy integers do not support.
    assert [type(turn) for turn in share_turns([1, 2])] == [int, int]


def test_even_the_smallest_weight_has_a_turn() -> None:
    assert share_turns([1, 1e-12, 1e-300]) == [PATTERN_TURNS - 2, 1, 1]


@pytest.mark.parametrize(("num_equal", "num_tiny"), [(50, 60), (100, 140)])
def test_turns_of_tiny_weights_are_not_taken_from_one_part_alone(
    num_equal: int, num_tiny: int
) -> None:
    turns = share_turns([1.0] * num_equal + [1e-9] * num_tiny)
    assert sum(turns) == PATTERN_TURNS
    assert turns[num_equal:] == [1] * num_tiny
    # The turns of the tiny weights are taken from all equal weights.
    each = (PATTERN_TURNS - num_tiny) / num_equal
    assert [turn for turn in turns[:num_equal] if abs(turn - each) > 1] == []


@given(weights=weight_lists)
@settings(max_examples=50)
def test_turns_are_spread_evenly(weights: list[float]) -> None:
    turns = share_turns(weights)
    pattern = spread_turns(turns)
    assert Counter(pattern.tolist()) == Counter(dict(enumerate(turns)))
    so_far = np.arange(PATTERN_TURNS + 1)
    for index, num in enumerate(turns):
        had = np.concatenate([[0], np.cumsum(pattern == index)])
        share = num / PATTERN_TURNS
        # Each part is at most half a turn early or late, and so is every other part.
        assert np.abs(had - so_far * share).max() <= 0.5 + share * len(turns) / 2


def test_all_streams_begin_at_other_places_of_the_pattern() -> None:
    begins = stream_phases(NUM_STREAMS)
    assert len(set(begins.tolist())) == NUM_STREAMS
    assert (begins >= 0).all()
    assert (begins < PATTERN_TURNS).all()
