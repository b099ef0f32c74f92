import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import reader
from reader.config.read_config import ReadConfig
from reader.contract.record import frame_record
from reader.datasets.open_sources import open_one_record_source
from reader.datasets.record_source import RecordSource
from reader.schedule.coverage import Coverage, coverage
from reader.schedule.run import plan_mixed_run, plan_run
from reader.shuffle.order import NO_RECORD, Share, ShuffledOrder, Stretch, Window
from reader.storage.tfrecord_file import read_shard

NUM_TRAIN = 48


def walk(folder: Path, glob: str = "train-*.tfrecord", **settings) -> Coverage:
    return coverage(f"{folder}/{glob}", **{"batch_size": 8, **settings})


def num_records(folder: Path, glob: str = "train-*.tfrecord") -> int:
    """Counts the records by reading them."""
    return sum(1 for path in folder.glob(glob) for _ in read_shard(str(path)))


# Complete epochs.


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 6, 7, 31, 48])
def test_all_but_the_last_incomplete_batch_is_read_once(dataset, batch_size, shuffle):
    num = num_records(dataset)
    assert walk(dataset, batch_size=batch_size, shuffle=shuffle) == Coverage(
        num_examples=num,
        num_once=num // batch_size * batch_size,
        num_never=num % batch_size,
        num_repeated=0,
        num_fills=0,
        num_left_over=num % batch_size,
        steps=(num // batch_size,),
    )


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 31, 48, 50, 1000])
def test_each_record_is_read_once_where_batches_are_filled_up(
    dataset, batch_size, shuffle
):
    num = num_records(dataset)
    steps = -(-num // batch_size)
    found = walk(dataset, batch_size=batch_size, shuffle=shuffle, remainder="pad")
    assert found == Coverage(
        num_examples=num,
        num_once=num,
        num_never=0,
        num_repeated=0,
        num_fills=steps * batch_size - num,
        num_left_over=0,
        steps=(steps,),
    )
    assert found.problems == []


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@pytest.mark.parametrize(
    ("host_count", "batch_size"), [(2, 8), (3, 9), (4, 20), (16, 32), (48, 48)]
)
def test_hosts_have_equally_many_batches(dataset, host_count, batch_size, remainder):
    for epoch in (0, 1, 9):
        found = walk(
            dataset,
            batch_size=batch_size,
            host_count=host_count,
            epoch=epoch,
            remainder=remainder,
        )
        more = batch_size - 1 if remainder == "pad" else 0
        steps = (NUM_TRAIN + more) // batch_size
        assert found.steps == (steps,) * host_count
        assert found.num_once == min(NUM_TRAIN, steps * batch_size)
        assert found.num_once + found.num_never == NUM_TRAIN
        assert found.num_fills == max(0, steps * batch_size - NUM_TRAIN)
        assert found.problems == []


def test_small_windows_are_walked_too(dataset):
    for shuffle in (True, False):
        found = walk(dataset, batch_size=12, shuffle=shuffle, shuffle_bytes=1)
        assert (found.num_once, found.num_repeated) == (NUM_TRAIN, 0)


def test_a_split_of_a_folder_and_a_union_are_walked(dataset):
    validation = coverage(dataset, split="validation", batch_size=5)
    assert (validation.num_examples, validation.steps) == (12, (2,))
    both = [f"{dataset}/train-*.tfrecord", f"{dataset}/validation-*.tfrecord"]
    found = coverage(both, batch_size=60)
    assert (found.num_examples, found.num_once) == (60, 60)


def test_records_of_others_are_walked(dataset, tmp_path):
    first, *_ = dataset.glob("train-*.tfrecord")
    records = [record.data for record in read_shard(str(first))]
    with open(tmp_path / "others.tfrecord", "wb") as file:
        for data in records:
            header, footer = frame_record(data)
            file.write(header + data + footer)
    found = coverage(str(tmp_path / "others.tfrecord"), batch_size=1, shuffle_bytes=1)
    assert (found.num_examples, found.num_once) == (len(records), len(records))


def test_no_record_is_read(own_dataset):
    # Shard sizes are checked against the manifest; shard contents are not read.
    num = num_records(own_dataset)
    for path in own_dataset.glob("train-*.tfrecord"):
        path.write_bytes(bytes(path.stat().st_size))
    assert walk(own_dataset, batch_size=1).num_once == num


def test_walking_needs_no_tensorflow(dataset):
    code = (
        "import sys, reader; "
        f"reader.coverage({str(dataset)!r}, split='train', batch_size=8); "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# The order walked is the order of the requested epoch.


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, int, int, int]]:
    """(epoch, start, stop, host) of all requested windows."""
    calls: list[tuple[int, int, int, int]] = []
    windows = ShuffledOrder.windows

    def noted(self: ShuffledOrder, stretch: Stretch, share: Share) -> Iterator[Window]:
        calls.append((*stretch, share.host_index))
        return windows(self, stretch, share)

    monkeypatch.setattr(ShuffledOrder, "windows", noted)
    return calls


@pytest.mark.parametrize("epoch", [0, 1, 5, 1000])
def test_one_epoch_is_walked_by_each_host(dataset, asked, epoch):
    walk(dataset, batch_size=20, host_count=4, epoch=epoch)
    assert asked == [(epoch, 0, 40, host) for host in range(4)]


# Problems are reported.


def replaced(monkeypatch, change, host: int = 1) -> None:
    """Replaces the order with one that is changed for one host."""
    windows = ShuffledOrder.windows

    def changed(
        self: ShuffledOrder, stretch: Stretch, share: Share
    ) -> Iterator[Window]:
        for window in windows(self, stretch, share):
            cut = window.cut()
            numbers = change(cut.numbers) if share.host_index == host else cut.numbers
            yield cut._replace(numbers=numbers, keep=np.arange(len(numbers)))

    monkeypatch.setattr(ShuffledOrder, "windows", changed)


def test_records_that_come_twice_are_counted(dataset, monkeypatch):
    replaced(monkeypatch, lambda numbers: np.r_[numbers[0], numbers[0], numbers[2:]])
    found = walk(dataset, batch_size=8, host_count=2)
    assert (found.num_repeated, found.num_never, found.num_once) == (1, 1, 46)
    assert found.problems == [
        "1 records are read more than once",
        "1 records are not read",
    ]


def test_a_host_with_fewer_batches_is_told(dataset, monkeypatch):
    replaced(monkeypatch, lambda numbers: numbers[:-8])
    found = walk(dataset, batch_size=8, host_count=2)
    assert (found.num_never, found.steps) == (8, (6, 4))
    assert found.problems == [
        "8 records are not read",
        "hosts have different numbers of batches: (6, 4)",
    ]


def test_a_record_that_is_not_read_is_told_where_batches_are_filled_up(
    dataset, monkeypatch
):
    # With "pad", each record has a position in a batch, so all must be read.
    def leave_out_one(numbers: np.ndarray) -> np.ndarray:
        return np.r_[NO_RECORD, numbers[1:]]

    replaced(monkeypatch, leave_out_one)
    found = walk(dataset, batch_size=10, host_count=2, remainder="pad")
    assert (found.num_never, found.num_fills) == (1, 3)
    assert found.problems == ["1 records are not read"]


def test_an_epoch_that_ends_too_early_is_told(dataset, monkeypatch):
    # Six batches of eight are exactly 48 records, so no record is left over.
    replaced(monkeypatch, lambda numbers: numbers[:-3], host=0)
    found = walk(dataset, batch_size=8)
    assert (found.num_never, found.num_repeated) == (3, 0)
    assert found.problems == ["3 records are not read"]


# Rejected arguments.


@pytest.mark.parametrize("epoch", [-1, 1.0, "0", None, True], ids=repr)
def test_an_epoch_that_is_none_is_refused(dataset, epoch):
    with pytest.raises(reader.UsageError, match=r"^epoch must be"):
        walk(dataset, epoch=epoch)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 49}, "batch_size"),
        ({"host_count": 3}, "host_count"),
        ({"batch_size": 10, "host_count": 4}, "host_count.*batch_size=8 or 12"),
        ({"streams": 0}, "streams"),
        ({"streams": 8193}, "streams must be at most 8192"),
        ({"remainder": "keep"}, "remainder"),
        ({"seed": -1}, "seed"),
        ({"shuffle_bytes": 0}, "shuffle_bytes"),
    ],
    ids=str,
)
def test_arguments_are_refused_by_name(dataset, settings, named):
    with pytest.raises(reader.UsageError, match=named):
        walk(dataset, **settings)


def test_a_mixture_is_refused(dataset):
    mixture = {
        f"{dataset}/train-*.tfrecord": 2,
        f"{dataset}/validation-*.tfrecord": 1,
    }
    with pytest.raises(reader.UsageError, match="mixture has no epochs"):
        coverage(mixture, batch_size=8)


# Steps per epoch agree with the walk.


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@pytest.mark.parametrize("batch_size", [1, 5, 7, 48])
def test_steps_per_epoch_are_those_of_the_walk(dataset, batch_size, remainder):
    train = f"{dataset}/train-*.tfrecord"
    more = batch_size - 1 if remainder == "pad" else 0
    steps = (num_records(dataset) + more) // batch_size
    assert (
        reader.steps_per_epoch(train, batch_size=batch_size, remainder=remainder)
        == steps
    )
    assert walk(dataset, batch_size=batch_size, remainder=remainder).steps == (steps,)


# Empty record sources.


@pytest.fixture
def full_and_empty(dataset) -> list[RecordSource]:
    """A record source of 48 records, and an empty one like a split without keys."""
    full = open_one_record_source(f"{dataset}/train-*.tfrecord", None, None)
    none = np.zeros(0, np.int64)
    nothing = dataclasses.replace(full.shards[0], num_examples=0, num_bytes=0)
    empty = dataclasses.replace(full, shards=(nothing,), block_offsets=none)
    return [full, empty]


def test_a_run_over_nothing_is_refused(full_and_empty):
    with pytest.raises(reader.UsageError, match="holds no examples"):
        plan_run(full_and_empty[1], ReadConfig(batch_size=1))


def test_a_mixture_with_nothing_in_a_part_is_refused(full_and_empty):
    config = ReadConfig(batch_size=1, epochs=None)
    with pytest.raises(reader.UsageError, match="holds no examples"):
        plan_mixed_run(full_and_empty, [1, 1], config)
