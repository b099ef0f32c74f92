"""`reader.open` of datasets in buckets: the same examples, in few requests.

A proxy counts the requests to the stores and injects faults.
"""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_access import keys_of
from stand_ins.faulty import FaultyStore, faulty
from torch.utils.data import DataLoader
from written_layers import write_layer

import reader
from reader import DatasetError
from reader.map_dataset.map_dataset import MapDataset
from reader.storage.merged_reads import requests_for

OUTPUTS = ("key", "image", "tokens", "mask", "clip/score")
# GCS's clients escape more than is needed.
SHARDS = r"GET .*train.*tfrecord$"
FIRST, SECOND = (rf"GET .*open(/|%2F)train(-|%2D)0000{n}" for n in (0, 1))


@pytest.fixture(scope="module")
def here(dataset, tmp_path_factory) -> Path:
    """A dataset with a layer."""
    folder = tmp_path_factory.mktemp("here") / "out"
    shutil.copytree(dataset, folder)
    keys = [key.encode() for key in keys_of(folder)]
    rows = {key: {"score": n / 4} for n, key in enumerate(keys) if n % 5}
    write_layer(folder, "clip", {"score": ("float32", ())}, rows)
    return folder


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request, here):
    """A proxy before a store, and the address of the dataset in it."""
    name = "bucket_store" if request.param == "gs" else "s3_store"
    with faulty(request.getfixturevalue(name)) as proxy:
        yield proxy, proxy.upload(here, "open")


@pytest.fixture
def proxy(bucket, monkeypatch) -> FaultyStore:
    for name, value in bucket[0].environment.items():
        monkeypatch.setenv(name, value)
    bucket[0].heal()
    bucket[0].reset()
    return bucket[0]


def opened(folder: Any, *outputs: str, **settings: Any) -> MapDataset:
    names = outputs or OUTPUTS
    return reader.open(
        f"{folder}/train-*", layers="clip", outputs=names, max_tokens=9, **settings
    )


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_examples_are_those_of_the_dataset_here(bucket, proxy, here):
    there, expected = opened(bucket[1]), list(opened(here))
    assert_equal(list(there), expected)
    order = [5, 47, 5, 30, 0, -1]
    assert_equal(there.__getitems__(order), [expected[n] for n in order])
    assert_equal([there[n] for n in (7, -2)], [expected[n] for n in (7, -2)])
    assert_equal([there.by_key(expected[9][0])], [expected[9]])
    assert there.samples.equals(opened(here).samples)
    few = opened(bucket[1], where="clip/score > 8")
    assert_equal(
        few.__getitems__(range(len(few))), list(opened(here, where="clip/score > 8"))
    )


def test_a_batch_takes_one_request_for_neighbors_in_each_file(bucket, proxy, here):
    data = opened(bucket[1])
    data[0]  # The index of the layer is read.
    proxy.latency = 0.3
    proxy.reset()
    data[1]
    assert proxy.counts(SHARDS).requests == proxy.counts().requests == 2
    proxy.reset()
    data.__getitems__(range(len(data)))
    requests = proxy.requests(SHARDS)
    proxy.latency = 0
    files = sorted(here.glob("train-*.tfrecord"))
    files += [here / "layers/clip" / file.name for file in files]
    assert len(requests) == len(files) == 6
    assert sum(each.sent for each in requests) == sum(f.stat().st_size for f in files)
    begun = [each.begun for each in requests]
    assert max(begun) - min(begun) < 0.3  # None waited for the answer to another.


def test_ranges_are_merged_over_small_gaps_only():
    kib = 1 << 10
    ranges = [
        ("b", 0, 10),
        ("a", 100 * kib, 101 * kib),
        ("a", 0, 60 * kib),
        ("a", 300 * kib, 301 * kib),
        ("a", 100 * kib, 101 * kib),
        ("a", 301 * kib, 4000 * kib),
    ]
    found = [tuple(each) for each in requests_for(ranges)]
    assert found == [
        ("a", 0, 101 * kib, [2, 1, 4]),
        ("a", 300 * kib, 301 * kib, [3]),
        ("a", 301 * kib, 4000 * kib, [5]),
        ("b", 0, 10, [0]),
    ]
    # Of small ranges far apart, the gaps would be most of what is read.
    apart = [("a", n * 30 * kib, n * 30 * kib + kib) for n in range(9)]
    assert [each[1:3] for each in requests_for(apart)] == [each[1:] for each in apart]


def test_a_cache_keeps_what_was_fetched_within_its_bound(bucket, proxy, here, tmp_path):
    cached = {"cache": tmp_path / "c", "cache_bytes": 16 << 20}
    data, expected = opened(bucket[1], **cached), list(opened(here))
    few = [3, 20, 40, 3]
    assert_equal(data.__getitems__(few), [expected[n] for n in few])
    proxy.reset()
    assert_equal(data.__getitems__(few), [expected[n] for n in few])
    assert proxy.counts().requests == 0
    copy = pickle.loads(pickle.dumps(data))
    proxy.reset()
    assert_equal(copy.__getitems__([40, 41]), expected[40:42])
    assert proxy.counts(SHARDS).requests == 2  # Of record 41 and its layer.
    assert_equal(list(copy), expected)


def test_a_cache_without_a_bound_keeps_whole_shards(bucket, proxy, here, tmp_path):
    data = opened(bucket[1], cache=tmp_path / "c")
    proxy.reset()
    assert_equal(list(data), list(opened(here)))
    assert proxy.counts(SHARDS).requests == 0
    assert len(list((tmp_path / "c").rglob("*.tfrecord"))) == 6


# With one store: that of each is repeated, `tests/object_stores` tests.
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
@pytest.mark.parametrize("fault", ["503", "reset", "short", "damaged"])
def test_requests_that_fail_are_made_again(bucket, proxy, here, fault):
    data, expected = opened(bucket[1], "key"), list(opened(here, "key"))
    data[0]
    times = 1 if fault == "damaged" else None
    proxy.fail(fault, every=3, times=times, match=SHARDS)
    assert data.__getitems__(range(len(data))) == expected
    assert proxy.faults() > 0


def test_what_cannot_be_read_is_named(bucket, proxy, here):
    data, keys = opened(bucket[1], "key"), keys_of(here)
    proxy.fail("damaged", match=FIRST)
    with pytest.raises(DatasetError) as raised:
        data.__getitems__([3, 20])
    assert f"{bucket[1]}/train-00000-of-00003.tfrecord at byte" in str(raised.value)
    assert f'(key "{keys[3]}")' in str(raised.value)
    proxy.heal()
    proxy.fail("403", match=SECOND)
    with pytest.raises(PermissionError) as denied:
        data.__getitems__([3, 20])
    assert denied.value.filename == f"{bucket[1]}/train-00001-of-00003.tfrecord"


@pytest.mark.parametrize(
    ("bucket", "context"),
    [("gs", "fork"), ("s3", "fork"), ("s3", "spawn")],
    indirect=["bucket"],
)
def test_workers_read_what_the_dataset_holds(bucket, proxy, here, context):
    data, names = opened(bucket[1], "key", "tokens"), ("key", "tokens")
    data[0]  # The process that is forked has made requests.
    batches = reader.sampler(data, batch_size=16, seed=3)
    loader = DataLoader(
        data,
        batch_sampler=batches,
        num_workers=1,
        multiprocessing_context=context,
        collate_fn=list,
    )
    local = opened(here, *names)
    expected = [
        local.__getitems__(numbers)
        for numbers in reader.sampler(local, batch_size=16, seed=3)
    ]
    for found, wanted in zip(loader, expected, strict=True):
        assert_equal(found, wanted)
    assert data[1][0] == keys_of(here)[1]
