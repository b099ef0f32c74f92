"""The end of an epoch is told once all of it was read, in whatever order."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from reader.schedule.laps import Laps

STEPS = ("hand out 3", "hand out 2", "end", "read 2", "read 3")


@pytest.mark.parametrize(
    "order",
    [
        order
        for order in itertools.permutations(STEPS)
        if order[0].startswith("hand")
        and max(map(order.index, STEPS[:2])) < order.index("end")
        and all(order.index(f"hand out {n}") < order.index(f"read {n}") for n in (2, 3))
    ],
)
def test_an_epoch_ends_with_the_last_of_its_records(order):
    ended = []
    laps = Laps(lambda epoch, lap: ended.append(epoch))
    for step in order:
        assert ended == []
        what, _, num = step.rpartition(" ")
        if what == "hand out":
            laps.hand_out(7, int(num))
        elif what == "read":
            laps.note_read(7, int(num))
        else:
            laps.end(7, epoch=40)
    assert ended == [40]


def test_an_epoch_without_records_ends():
    ended = []
    laps = Laps(lambda epoch, lap: ended.append(epoch))
    laps.hand_out(0, 0)
    laps.end(0, epoch=1)
    assert ended == [1]


def test_an_epoch_left_early_never_ends():
    ended = []
    laps = Laps(lambda epoch, lap: ended.append(epoch))
    laps.hand_out(0, 10)
    laps.note_read(0, 4)
    laps.hand_out(1, 5)
    laps.end(1, epoch=0)
    laps.note_read(1, 5)
    laps.note_read(0, 6)
    assert ended == [0]


def test_threads_share_the_counts():
    ended = []
    laps = Laps(lambda epoch, lap: ended.append(epoch))
    for lap in range(10):
        laps.hand_out(lap, 2000)
        laps.end(lap, epoch=lap)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: laps.note_read(n % 10, 1), range(20_000)))
    assert sorted(ended) == [*range(10)]
