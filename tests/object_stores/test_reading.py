"""Reading from s3:// through checked copies of shards."""

import numpy as np
import pytest

import reader
from reader.tools.report.write import write_report


@pytest.fixture(scope="module")
def in_s3(s3_store, dataset) -> str:
    return s3_store.upload(dataset, "reading")


@pytest.fixture(autouse=True)
def account(s3_store, monkeypatch):
    for name, value in s3_store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_store.endpoint)


def keys_of(batches) -> list[bytes]:
    return [key for (keys,) in batches.as_numpy_iterator() for key in keys.tolist()]


@pytest.mark.parametrize("what", ["", "/train-*", "/train-*.tfrecord"])
def test_batches_are_those_of_the_dataset_here(in_s3, dataset, tmp_path, what):
    settings = {"batch_size": 7, "seed": 3, "outputs": ("key",)}
    split = {} if what else {"split": "train"}
    there = reader.load(f"{in_s3}{what}", cache=tmp_path / "c", **split, **settings)
    here = reader.load(f"{dataset}{what}", **split, **settings)
    assert keys_of(there) == keys_of(here)
    assert len(list((tmp_path / "c").rglob("*.tfrecord"))) == 3


def test_a_second_run_copies_nothing(in_s3, s3_store, tmp_path):
    settings = {"batch_size": 7, "image_size": 64, "cache": tmp_path}
    reader.load(f"{in_s3}/train-*", **settings)
    copies = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tfrecord")}
    assert copies
    reader.load(f"{in_s3}/train-*", **settings)
    assert copies == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tfrecord")
    }


def test_single_examples_need_no_copies(in_s3, dataset):
    there, here = (reader.open(where, split="train") for where in (in_s3, dataset))
    assert len(there) == len(here)
    for number in (0, len(here) - 1):
        assert np.array_equal(there[number]["image"], here[number]["image"])


def test_a_damaged_shard_makes_no_copy(s3_store, dataset, tmp_path):
    address = s3_store.upload(dataset, "damaged")
    shard = next(dataset.glob("train-*"))
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    s3_store.put(f"damaged/{shard.name}", bytes(damaged))
    with pytest.raises(reader.DatasetError, match=shard.name):
        reader.load(f"{address}/train-*", batch_size=7, image_size=64, cache=tmp_path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3://bucket/none", r"no manifest\.json in s3://"),
        ("s3://no-such-bucket/out", "No such bucket: .*'s3://no-such-bucket/out"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(where, message, tmp_path):
    with pytest.raises((reader.DatasetError, OSError), match=message):
        reader.load(f"{where}/train-*", batch_size=7, image_size=64, cache=tmp_path)


def test_an_unfinished_output_is_no_dataset(s3_store, dataset, tmp_path):
    address = s3_store.upload(dataset, "unfinished")
    s3_store.delete(f"{address}/manifest.json")
    s3_store.put("unfinished/_build/lease.json", b"{}")
    for where in (address, f"{address}/train-*"):
        with pytest.raises(reader.DatasetError, match="the job has not finished"):
            reader.load(where, batch_size=7, image_size=64, cache=tmp_path)


def test_a_dataset_in_a_bucket_is_reported_on_here(in_s3, dataset, tmp_path):
    pages = [tmp_path / "there.html", tmp_path / "here.html"]
    for folder, page in zip((in_s3, dataset), pages, strict=True):
        write_report(folder, page, 10)
    assert pages[0].read_bytes() == pages[1].read_bytes()
