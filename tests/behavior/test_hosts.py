import itertools
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from patience import PATIENCE_SECONDS
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

N, BATCH, STREAMS = 700, 24, 192
SHUFFLE_BYTES = 450_000  # Two records of each stream: two windows in an epoch.
HOST_COUNTS = (1, 2, 4, 8)


def make_pictures(folder: Path, num: int, side: int) -> Path:
    """Noise, so that nothing can be compressed, with captions of a few words."""
    rng = np.random.default_rng(0)
    for number in range(num):
        noise = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03}.png", compress_level=0)
        (folder / f"{number:03}.txt").write_text(f"picture {number}")
    return folder


@pytest.fixture(scope="module")
def many(build, tmp_path_factory) -> Path:
    """700 pictures in three shards: 12 blocks, and 3 to 4 records of each stream."""
    source = make_pictures(tmp_path_factory.mktemp("many"), N, 8)
    return build(source, source, source / "out", resize="none", num_shards=3)


@pytest.fixture(scope="module")
def heavy(build, tmp_path_factory) -> Path:
    """240 pictures of 120 KB."""
    source = make_pictures(tmp_path_factory.mktemp("heavy"), 240, 200)
    return build(
        source,
        source,
        source / "out",
        resize="none",
        image_format="raw",
        num_shards=3,
    )


def load(folder: Path, host: int = 0, num: int = 1, **more) -> tf.data.Dataset:
    usual = {
        "batch_size": BATCH,
        "image_size": 8,
        "shuffle_bytes": SHUFFLE_BYTES,
        "outputs": ("key",),
    }
    hosts = {"host_index": host, "host_count": num}
    return reader.load(str(folder), **{**usual, **hosts, **more})


def keys(batches: tf.data.Dataset) -> list[list[bytes]]:
    return [batch[0].tolist() for batch in batches.as_numpy_iterator()]


class Stored(NamedTuple):
    key: bytes
    shard: str
    offset: int
    num_bytes: int


def stored(folder: Path) -> list[Stored]:
    """Where each record lies, in the order written; sizes with 16 bytes of framing."""
    return [
        Stored(
            parse_example(record.data)["image/source_id"][0],
            shard.name,
            record.offset,
            len(record.data) + 16,
        )
        for shard in sorted(folder.glob("train-*.tfrecord"))
        for record in read_shard(str(shard))
    ]


def all_hosts(folder: Path, num: int, **more) -> list[list[list[bytes]]]:
    return [keys(load(folder, host, num, **more)) for host in range(num)]


# Who gets what.


@pytest.fixture(scope="module")
def whole(many) -> list[list[bytes]]:
    return keys(load(many, epochs=2))


@pytest.mark.parametrize("num", HOST_COUNTS[1:])
def test_a_step_holds_the_same_examples_on_any_number_of_hosts(many, whole, num):
    hosts = all_hosts(many, num)
    for step, batch in enumerate(whole[: N // BATCH]):
        together = [key for host in hosts for key in host[step]]
        assert len(together) == BATCH
        assert set(together) == set(batch)


@pytest.mark.parametrize("num", [2, 8])
def test_a_host_takes_every_so_manyth_position(many, whole, num):
    host = num - 1
    positions = [batch[host::num] for batch in whole]  # 24 is a multiple of them all.
    assert keys(load(many, host, num, epochs=2)) == positions


@pytest.mark.parametrize("num", [3, 24])
def test_hosts_need_not_be_a_power_of_two(many, whole, num):
    assert keys(load(many, 1, num)) == [b[1::num] for b in whole[: len(whole) // 2]]


@pytest.mark.parametrize(
    ("num", "more"),
    [
        (5, {}),
        (128, {}),
        (1000, {}),
        (7, {"streams": 50}),
        (256, {"streams": 50}),
        (40, {"shuffle": False}),
    ],
    ids=str,
)
def test_any_number_of_hosts_shares_a_step(many, num, more):
    more = {"batch_size": num * (1 + 100 // num), "remainder": "pad", **more}
    whole = keys(load(many, **more))
    hosts = [keys(load(many, host, num, **more)) for host in range(0, num, num // 5)]
    for step, batch in enumerate(whole):
        some = [key for host in hosts for key in host[step] if key]
        assert len(set(some)) == len(some)
        assert set(some) <= set(batch)
    assert {len(host) for host in hosts} == {len(whole)}


@pytest.mark.parametrize(
    ("num", "more"),
    [
        (5, {"start_step": 3, "epochs": 2}),
        (7, {"start_example": 101}),
        (5, {"remainder": "pad", "epochs": 3}),
        (7, {"streams": 20, "seed": 5}),
        (7, {"bucket_by_length": True, "caption": "random"}),
        (5, {"bucket_by_length": True, "remainder": "pad", "start_step": 7}),
    ],
    ids=str,
)
def test_five_and_seven_hosts_read_what_one_reads(many, num, more):
    whole = keys(load(many, batch_size=35, **more))
    hosts = all_hosts(many, num, batch_size=35, **more)
    for step, batch in enumerate(whole):
        assert sorted(key for host in hosts for key in host[step]) == sorted(batch)
    assert [len(host) for host in hosts] == [len(whole)] * num


def test_as_many_hosts_as_streams_get_one_example_each(many):
    (whole,) = keys(load(many, batch_size=STREAMS, shuffle_bytes=1))[:1]
    for host in (0, 77, 191):
        batches = load(many, host, STREAMS, batch_size=STREAMS, shuffle_bytes=1)
        assert keys(batches)[0] == [whole[host]]


def test_without_shuffling_a_host_has_its_piece_of_each_batch(many):
    in_order = [record.key for record in stored(many)]
    for host in (0, 2, 3):
        begins = [step * BATCH + host * 6 for step in range(N // BATCH)]
        wanted = [in_order[at : at + 6] for at in begins]
        assert keys(load(many, host, 4, shuffle=False)) == wanted


def test_all_hosts_together_read_each_example_once(many):
    hosts = all_hosts(many, 4, batch_size=28)  # 700 = 25 · 28.
    loaded = [key for host in hosts for batch in host for key in batch]
    assert sorted(loaded) == sorted(record.key for record in stored(many))


def test_streams_are_neighbours_in_the_order_written(many):
    """With one window, each of 192 streams is a run of records but for block ends."""
    place = {record.key: at for at, record in enumerate(stored(many))}
    (order,) = keys(load(many, batch_size=N, shuffle_bytes=1 << 22))
    sizes, breaks = [], 0
    for stream in range(STREAMS):
        places = sorted(place[key] for key in order[stream::STREAMS])
        sizes.append(len(places))
        breaks += sum(b - a != 1 for a, b in itertools.pairwise(places))
    # 700 = 192 · 3 + 124. Of 12 to 14 blocks each ends in one stream at the most.
    assert sizes == [4] * 124 + [3] * 68
    assert breaks <= 14


def test_a_window_larger_than_the_dataset_takes_no_more_memory(many):
    peaks, orders = [], []
    for shuffle_bytes in (1 << 22, 1 << 32):
        tracemalloc.start()  # NumPy tells it of its arrays.
        try:
            orders.append(keys(load(many, shuffle_bytes=shuffle_bytes)))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert orders[0] == orders[1]
    assert peaks[1] < peaks[0] + 10e6


# How much.


@pytest.mark.parametrize("num", HOST_COUNTS)
def test_shapes_are_a_hosts_share(many, num):
    outputs = ("image", "tokens", "key")
    spec = load(many, num - 1, num, outputs=outputs).element_spec
    share = BATCH // num
    assert [part.shape for part in spec] == [(share, 8, 8, 3), (share, 64), (share,)]


@pytest.mark.parametrize("more", [{}, {"remainder": "pad"}, {"shuffle": False}])
def test_hosts_know_before_reading_that_they_have_equally_many_batches(many, more):
    batches = [load(many, host, 8, epochs=2, **more) for host in range(8)]
    lengths = [len(each) for each in batches]
    steps = 30 if "remainder" in more else 29
    assert lengths == [2 * steps] * 8
    assert [int(each.cardinality()) for each in batches] == lengths
    assert [len(keys(each)) for each in batches[::5]] == [2 * steps] * 2


def test_steps_per_epoch_is_every_hosts_length(many):
    steps = reader.steps_per_epoch(str(many), batch_size=BATCH)
    assert [len(load(many, host, 3)) for host in range(3)] == [steps] * 3 == [29] * 3


@pytest.mark.parametrize(
    ("more", "once", "fills", "steps"),
    [({}, 696, 0, 29), ({"remainder": "pad"}, 700, 20, 30)],
)
def test_coverage_counts_what_hosts_read(many, more, once, fills, steps):
    found = reader.coverage(
        str(many),
        batch_size=BATCH,
        host_count=4,
        epoch=1,
        shuffle_bytes=SHUFFLE_BYTES,
        **more,
    )
    hosts = all_hosts(many, 4, start_example=N, **more)
    loaded = [key for host in hosts for batch in host for key in batch]
    assert len(set(loaded) - {b""}) == found.num_once == once
    assert loaded.count(b"") == found.num_fills == fills
    assert tuple(map(len, hosts)) == found.steps == (steps,) * 4
    assert (found.num_examples, found.num_never) == (N, N - once)
    assert (found.num_repeated, found.problems) == (0, [])


# What is refused.


@pytest.mark.parametrize(
    ("batch_size", "num", "sizes"),
    [(24, 16, "16 or 32"), (24, 25, "25"), (100, 3, "99 or 102"), (7, 2, "6 or 8")],
)
def test_hosts_that_do_not_divide_the_batch_are_refused(many, batch_size, num, sizes):
    with pytest.raises(reader.UsageError) as raised:
        load(many, 0, num, batch_size=batch_size)
    assert str(raised.value) == (
        f"batch_size must be divisible by host_count, got {batch_size} and {num}: "
        f"pass batch_size={sizes}"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 4097, "batch_size": 4097}, "host_count must be at most 4096"),
        ({"streams": 8193}, "streams must be at most 8192"),
        ({"streams": 0}, "streams must be at least 1"),
        (
            {"num": 193, "batch_size": 193, "bucket_by_length": True},
            "host_count must be at most streams, got 193 and 192",
        ),
    ],
    ids=str,
)
def test_too_many_hosts_or_streams_are_refused(many, settings, message):
    with pytest.raises(reader.UsageError, match=message):
        load(many, **settings)


@pytest.mark.parametrize(
    ("hosts", "part"),
    [
        ({"host_index": 2, "host_count": 2}, "host_index"),
        ({"host_index": 1}, "host_index"),
        ({"host_index": -1, "host_count": 2}, "host_index"),
        ({"host_count": 0}, "host_count"),
        ({"host_count": 2.0}, "host_count"),
        ({"host_index": "0", "host_count": 2}, "host_index"),
        ({"host_index": None, "host_count": 2}, "host_index"),
    ],
    ids=repr,
)
def test_a_wrong_host_is_refused(many, hosts, part):
    with pytest.raises(reader.UsageError, match=part):
        load(many, **hosts)


# Which bytes.

_COUNT = """
import itertools, pathlib, sys
import reader

folder, *runs = sys.argv[1:]

def num_read():
    lines = pathlib.Path("/proc/self/io").read_text().split()
    return int(lines[lines.index("rchar:") + 1])

for run in [runs[0], *runs]:  # What only the first run loads is not counted.
    shuffle_bytes, host, num = map(int, run.split("/"))
    before = num_read()
    batches = reader.load(
        folder, batch_size=24, image_size=8, shuffle=shuffle_bytes > 0,
        shuffle_bytes=shuffle_bytes or 1 << 20, host_index=host, host_count=num,
        outputs=("key",))
    keys = [key.decode() for (batch,) in batches for key in batch.numpy()]
    print(run, num_read() - before, *keys)
"""
# A host reads the manifest and the indices too.
_FIXED_BYTES = 200_000


class Reading(NamedTuple):
    num_bytes: int
    keys: set[str]


RUNS = [
    f"{shuffle_bytes}/{host}"
    for shuffle_bytes in (0, 1, 50 << 20)  # 0: not shuffled.
    for host in ("0/1", "1/2", "5/8", "3/24")
]


@pytest.fixture(scope="module")
def readings(scripts, heavy) -> dict[str, Reading]:
    """Bytes that a process reads for an epoch, for each of `RUNS`."""
    if not Path("/proc/self/io").exists():
        pytest.skip("only Linux counts what a process reads")
    ended = scripts.run(_COUNT, heavy, *RUNS)
    ended.check(seconds=PATIENCE_SECONDS)
    lines = [line.split() for line in ended.out.splitlines()]
    return {line[0]: Reading(int(line[1]), set(line[2:])) for line in lines}


@pytest.mark.parametrize("run", RUNS)
def test_a_host_reads_the_bytes_of_its_own_records_alone(heavy, readings, run):
    size = {record.key.decode(): record.num_bytes for record in stored(heavy)}
    num_hosts = int(run.split("/")[2])
    own = sum(size[key] for key in readings[run].keys)
    assert own == pytest.approx(sum(size.values()) / num_hosts, rel=0.05)
    assert own <= readings[run].num_bytes <= own * 1.03 + _FIXED_BYTES
