"""Windows with the place of each record are those with reads."""

import numpy as np
import pytest

from reader.config.read_config import ReadConfig
from reader.contract.errors import DatasetError
from reader.datasets.open_sources import open_one_record_source
from reader.schedule.run import plan_run

SETTINGS = {
    "shuffled": {"shuffle_bytes": 20_000},
    "as written": {"shuffle": False, "shuffle_bytes": 20_000},
    "padded": {"remainder": "pad", "batch_size": 7, "shuffle_bytes": 1},
    "second host": {"host_count": 2, "host_index": 1},
    "epochs": {"epochs": 3},
}


class Noted:
    """A staging that notes what it is asked to bring near, as `ReadAhead` has it."""

    def __init__(self, room=0):
        self.staged, self.done_with, self.room = [], [], room

    def stage(self, places, clock):
        self.staged.append(places)
        return places

    def has_room(self):
        return sum(map(len, self.staged)) - sum(map(len, self.done_with)) < self.room

    def is_ready(self, places):
        return True

    def wait(self, places):
        pass

    def done(self, places):
        self.done_with.append(places)

    def close(self):
        pass


def windows_of(folder, ended=None, **settings):
    config = ReadConfig(**{"batch_size": 8, "outputs": ("image",), **settings})
    source = open_one_record_source(f"{folder}/train-*", None, None)

    def at_end(epoch, lap=None):
        if ended is not None:
            ended.append(epoch)

    return plan_run(source, config).windows(config, at_end=at_end)


@pytest.mark.parametrize("name", SETTINGS)
def test_places_are_those_of_the_reads(dataset, name):
    one, other = (windows_of(dataset, **SETTINGS[name]) for _ in range(2))
    staging = Noted()
    ahead = staging.staged
    for _ in range(2):  # Two iterators.
        placed = list(one.placed(staging))
        reads = list(other())
        assert len(placed) == len(reads) > 0
        for found, expected in zip(placed, reads, strict=True):
            (((_, lengths),), numbers, order), blank, datasets, draws, *_ = expected
            number, shard, begin, end = found.places.T
            assert np.array_equal(number, numbers[order])
            assert np.array_equal(end - begin - 16, lengths[order])
            assert np.array_equal(found.blank, blank)
            assert np.array_equal(found.draws, draws)
            assert not datasets.any()
            for n, s, b in zip(number, shard, begin, strict=True):
                which, place = one.index.locate(n)
                assert (which, one.index.offsets(which)[place]) == (s, b)
        announced = [places for places in ahead if len(places)]
        assert len(announced) == len(placed)
        for places, found in zip(announced, placed, strict=True):
            assert np.array_equal(places, found.places)
        ahead.clear()
    assert one.num_iterators == 2 and not one.left_early


def test_a_window_is_announced_before_the_one_in_front_of_it_is_used(dataset):
    windows = windows_of(dataset, shuffle=False, shuffle_bytes=1)
    staging = Noted()
    for count, placed in enumerate(windows.placed(staging)):
        assert np.array_equal(staging.staged[count], placed.places)
        assert len(staging.staged) == min(count + 2, 6)


def test_as_many_windows_are_staged_as_there_is_room_for(dataset):
    windows = windows_of(dataset, shuffle=False, shuffle_bytes=1)
    staging = Noted(room=32)
    found = []
    for count, placed in enumerate(windows.placed(staging)):
        found.append(len(staging.staged))
        assert np.array_equal(staging.staged[count], placed.places)
        staging.done(placed.places)
    # Windows of 8 records: 4 in memory, besides the one that was given out.
    assert found == [4, 5, 6, 6, 6, 6]


def test_epochs_end_when_their_records_were_read(dataset):
    ended = []
    windows = windows_of(dataset, ended, epochs=3, shuffle_bytes=1, batch_size=6)
    parts = list(windows.placed(Noted()))
    assert ended == []
    last = {int(part.laps[0]): n for n, part in enumerate(parts)}
    for n, part in reversed([*enumerate(parts)]):
        windows.note_read(int(part.laps[0]), len(part.laps))
        assert len(ended) == sum(
            all(m >= n for m, p in enumerate(parts) if p.laps[0] == lap) for lap in last
        )
    assert sorted(ended) == [0, 1, 2]


def test_an_error_is_raised_at_the_window_that_it_concerns(dataset, monkeypatch):
    windows = windows_of(dataset, shuffle=False, shuffle_bytes=1)
    places = windows.index.places

    def failing(numbers):
        if 20 in numbers:
            raise DatasetError("an index is damaged")
        return places(numbers)

    monkeypatch.setattr(windows.index, "places", failing)
    found = windows.placed(Noted())
    assert [next(found).places[0, 0], next(found).places[0, 0]] == [0, 8]
    with pytest.raises(DatasetError, match="damaged"):
        next(found)
    assert str(windows.error) == "an index is damaged"


@pytest.mark.parametrize("num_hosts", [1, 4, 8])
def test_a_hosts_small_parts_of_windows_are_read_together(dataset, num_hosts):
    hosts = {"host_count": num_hosts, "host_index": num_hosts - 1}
    windows = windows_of(dataset, shuffle=False, shuffle_bytes=1, **hosts)
    sizes = [len(placed.places) for placed in windows.placed(Noted())]
    # 48 records, and windows of a batch of 8.
    assert sizes == ([8] * 6 if num_hosts == 1 else [48 // num_hosts])
