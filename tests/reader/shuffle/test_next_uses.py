"""When blocks are needed next, against a plain loop over the windows of a plan."""

import numpy as np
import pytest

from reader.contract.additions.selection import WEIGHT_ONE
from reader.shuffle.mixture import MixedOrder, Part
from reader.shuffle.next_uses import NEVER, NextUses, ShuffledUses, WrittenUses
from reader.shuffle.order import Blocks, ShuffledOrder, WrittenOrder
from reader.shuffle.shares import Share, Stretch
from reader.shuffle.subset import Chosen

NUM_BLOCKS = 120


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    sizes = np.random.default_rng(0).integers(1, 65, NUM_BLOCKS)
    return Blocks(np.append(0, np.cumsum(sizes)))


def clocks_of(order, blocks, hosts, share, subset=None, epochs=4) -> dict:
    """The clocks of the windows that need each block."""
    clocks: dict[int, set[int]] = {block: set() for block in range(NUM_BLOCKS)}
    num, size = order.num_records, share.batch_size
    for epoch in range(epochs):
        for host in hosts:
            # The last batch too, if it is not full.
            stretch = Stretch(epoch, 0, -(-num // size) * size)
            mine = Share(host, share.host_count, size)
            for window in order.windows(stretch, mine):
                window = window.cut()
                numbers, epochs_ = window.numbers, window.epochs
                if subset is not None:
                    numbers, _ = subset.records(numbers, epochs_)
                clock = epoch * num + window.number * order.window_records
                found = np.searchsorted(blocks.first, numbers[numbers >= 0], "right")
                for block in set((found - 1).tolist()):
                    clocks[block].add(clock)
    return clocks


def check(uses: NextUses, clocks: dict, num: int, window: int, ahead: int) -> None:
    wanted = np.arange(NUM_BLOCKS)
    for clock in (0, 3 * window, num // 2 // window * window, num - 1, num):
        known = (clock // num + 1 + ahead) * num
        expected = [
            min((c for c in clocks[b] if clock < c < known), default=NEVER)
            for b in wanted
        ]
        assert uses.after(wanted, clock).tolist() == expected
        epoch_end = (clock // num + 1) * num - 1
        assert uses.again(wanted, clock).tolist() == [
            min((c for c in clocks[b] if epoch_end < c < known), default=NEVER)
            for b in wanted
        ]


@pytest.mark.parametrize(
    ("host_count", "hosts"), [(1, [0]), (8, [1, 3, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_of_a_shuffled_order(blocks, host_count, hosts):
    order = ShuffledOrder(blocks, 0, 7, 24)
    share = Share(hosts[0], host_count, 2 * host_count)
    uses = ShuffledUses(order, NUM_BLOCKS, share, endless=False)
    uses.read_by(hosts)
    ahead = 1 if len(hosts) == host_count else 3
    clocks = clocks_of(order, blocks, hosts, share, epochs=6)
    check(uses, clocks, order.num_records, order.window_records, ahead)


@pytest.mark.parametrize("weighted", [False, True])
def test_of_a_selection(blocks, weighted):
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**63, NUM_BLOCKS, np.uint64)
    sizes = np.diff(blocks.first)
    words &= (np.uint64(2) << (sizes - 1).astype(np.uint64)) - np.uint64(1)
    words[::5] = 0
    weights = None
    if weighted:
        weights = rng.integers(0, 3 * WEIGHT_ONE, blocks.num_records).astype(np.uint16)
    subset = Chosen(words, weights).subset(blocks, 0)
    order, share = ShuffledOrder(subset, 0, 7, 24), Share(0, 1, 16)
    uses = ShuffledUses(order, NUM_BLOCKS, share, endless=False)
    clocks = clocks_of(order, blocks, [0], share, subset, epochs=5)
    check(uses, clocks, order.num_records, order.window_records, 1)


def test_of_the_order_as_written(blocks):
    order = WrittenOrder(blocks.num_records, 16, 5)
    share = Share(1, 4, 16)
    uses = WrittenUses(order, blocks, NUM_BLOCKS, share)
    clocks = clocks_of(order, blocks, [1], share, epochs=7)
    check(uses, clocks, order.num_records, order.window_records, 3)


def test_of_a_mixture_to_a_few_turns(blocks):
    parts = [ShuffledOrder(blocks, str(seed), 7, 24) for seed in range(2)]
    num = blocks.num_records
    order = MixedOrder([Part(parts[0], 0), Part(parts[1], num)], [3, 1], 7)
    uses = order.next_uses([NUM_BLOCKS, NUM_BLOCKS], Share(0, 1, 16))
    both = np.append(blocks.first, num + blocks.first[1:])
    expected = np.full(2 * NUM_BLOCKS, NEVER)
    start = 20 * order.window_records
    stop = start + 8 * num // 16 * 16
    for window in order.windows(Stretch(0, start, stop), Share(0, 1, 16)):
        found = np.searchsorted(both, window.numbers, "right") - 1
        clock = window.number * order.window_records
        expected[found] = np.minimum(expected[found], clock)
    got = uses.after(np.arange(2 * NUM_BLOCKS), start)
    there = (got != NEVER) & (expected != NEVER)
    assert there.mean() > 0.95
    # A part has its turns to within a few of them.
    late = np.abs(got - expected)[there]
    assert np.median(late) < 2 * order.window_records
    assert (late < 6 * order.window_records).mean() > 0.95
