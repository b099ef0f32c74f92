"""Which positions of each batch a host reads, for any number of hosts.

Expected positions are those of a plain loop over the rule in `reader.shuffle.shares`.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.shuffle.order import NO_RECORD, Blocks, ShuffledOrder
from reader.shuffle.shares import Share, Stretch


def plain_shares(
    start: int, batch_size: int, host_count: int, num_streams: int
) -> list[list[int]]:
    """Positions of each host in the batch that begins at `start`."""
    common = math.gcd(host_count, num_streams)
    num = num_streams // common
    step = max(1, round(num * (math.sqrt(5) - 1) / 2))
    while math.gcd(step, num) > 1:
        step += 1
    shares = []
    for host in range(host_count):
        member, of_class = host // common, host % common
        mine = [p for p in range(start, start + batch_size) if p % common == of_class]
        mine.sort(key=lambda p: (p // common % num * step % num, p))
        each = batch_size // host_count
        shares.append(sorted(mine[member * each : (member + 1) * each]))
    return shares


@st.composite
def cases(draw):
    host_count = draw(st.integers(1, 50))
    batch_size = host_count * draw(st.integers(1, 8))
    start, num = draw(st.integers(0, 10**6)), draw(st.integers(1, 4))
    num_streams = draw(st.sampled_from([1, 7, 12, 192, 193, 1536]))
    stretch = Stretch(0, start, start + num * batch_size)
    return stretch, batch_size, host_count, num_streams


@settings(max_examples=200, deadline=None)
@given(cases(), st.data())
def test_shares_are_those_of_a_plain_loop(case, data):
    stretch, batch_size, host_count, num_streams = case
    begin = data.draw(st.integers(stretch.start - 5, stretch.stop))
    end = data.draw(st.integers(begin, stretch.stop + 5))
    expected = [[] for _ in range(host_count)]
    for start in range(stretch.start, stretch.stop, batch_size):
        shares = plain_shares(start, batch_size, host_count, num_streams)
        for mine, share in zip(expected, shares, strict=True):
            mine += [p for p in share if begin <= p < end]
    for host, mine in enumerate(expected):
        share = Share(host, host_count, batch_size)
        assert share.positions(stretch, begin, end, num_streams).tolist() == mine


@settings(max_examples=100, deadline=None)
@given(cases())
def test_hosts_divide_each_batch_equally(case):
    stretch, batch_size, host_count, num_streams = case
    batches = [
        Share(host, host_count, batch_size)
        .positions(stretch, stretch.start, stretch.stop, num_streams)
        .reshape(-1, batch_size // host_count)
        for host in range(host_count)
    ]
    together = np.sort(np.concatenate(batches, axis=1), axis=1)
    assert together.ravel().tolist() == list(range(stretch.start, stretch.stop))


@pytest.mark.parametrize("host_count", [1, 2, 3, 64, 192])
def test_divisors_of_the_streams_own_whole_streams(host_count):
    stretch = Stretch(0, 100, 100 + 960)
    for host in range(host_count):
        share = Share(host, host_count, 192)
        assert share.positions(stretch, 0, 10**4, 192).tolist() == [
            p for p in range(100, 1060) if p % host_count == host
        ]


@pytest.mark.parametrize("host_count", [5, 7, 40, 80, 128, 256, 1000, 1024])
def test_a_host_reads_nearly_the_same_few_streams_in_every_batch(host_count):
    batch_size = 32 * host_count
    stretch = Stretch(0, 0, 40 * batch_size)
    for host in {0, 1, host_count // 2, host_count - 1}:
        share = Share(host, host_count, batch_size)
        positions = share.positions(stretch, 0, stretch.stop, 192)
        assert len(np.unique(positions % 192)) <= 192 / host_count + 4


@settings(max_examples=40, deadline=None)
@given(
    st.integers(30, 3000),
    st.integers(1, 4),
    st.sampled_from([2, 5, 7, 24, 40, 80, 128]),
    st.sampled_from([7, 192, 500]),
    st.integers(1, 3),
    st.data(),
)
def test_every_number_of_hosts_reads_the_same_batches(
    num, rounds, host_count, num_streams, host_batch, data
):
    batch_size = host_batch * host_count
    blocks = Blocks(np.array([*range(0, num, 64), num]))
    order = ShuffledOrder(blocks, 3, rounds, num_streams)
    start = data.draw(st.integers(0, num - 1))
    # The last batch is padded.
    steps = -(-(num - start) // batch_size)
    stretch = Stretch(1, start, start + steps * batch_size)

    def batches(share: Share) -> np.ndarray:
        windows = order.windows(stretch, share)
        numbers = [window.cut().numbers for window in windows]
        return np.concatenate(numbers).reshape(steps, -1)

    whole = batches(Share(0, 1, batch_size))
    records = [number for number in whole.ravel().tolist() if number != NO_RECORD]
    assert len(records) == len(set(records)) == num - start
    hosts = [batches(Share(h, host_count, batch_size)) for h in range(host_count)]
    together = np.concatenate(hosts, axis=1)
    assert (np.sort(together, axis=1) == np.sort(whole, axis=1)).all()
