"""Shard cache: each shard is copied once, checked, and then read from the copy."""

import json
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import tensorflow as tf
from stand_ins.faulty import faulty

import reader
import reader.datasets.shard_cache
from reader.datasets.manifest_dataset import open_dataset


def load(pattern: Any, cache: Path | None = None, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 8, "outputs": ("key",)}
    return reader.load(pattern, cache=cache, **{**usual, **settings})


def keys(batches: tf.data.Dataset) -> list[bytes]:
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.name: google_crc32c.Checksum(path.read_bytes()).hexdigest().decode()
        for path in files(folder)
    }


def expected_checksums(dataset: Path, split: str) -> dict[str, str]:
    shards = open_dataset(str(dataset)).manifest.shards
    return {s.file: s.crc32c for s in shards if s.file.startswith(split)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files read for copying, once per part read."""
    names: list[str] = []
    read = reader.datasets.shard_cache.read_bytes

    def noting(path: str, *args: int) -> bytes:
        names.append(path.rpartition("/")[2])
        return read(path, *args)

    monkeypatch.setattr(reader.datasets.shard_cache, "read_bytes", noting)
    return names


@pytest.fixture(scope="module")
def order(dataset) -> list[bytes]:
    """Keys of two epochs, loaded without a cache."""
    return keys(load(dataset, split="train", epochs=2, seed=3))


# Copying.


def test_shards_of_the_split_are_copied_as_they_are(dataset, cache):
    load(dataset, cache, split="train")
    assert checksums(cache) == expected_checksums(dataset, "train")


def test_each_shard_is_copied_once(dataset, cache, reads):
    load(dataset, cache, split="train")
    assert sorted(reads) == sorted(expected_checksums(dataset, "train"))
    load(dataset, cache, split="train", seed=9)
    assert len(reads) == 3
    load(dataset, cache, split="validation", batch_size=4)
    assert sorted(reads) == sorted(
        [
            *expected_checksums(dataset, "train"),
            *expected_checksums(dataset, "validation"),
        ]
    )


def test_large_shards_are_copied_part_by_part(dataset, cache, reads, monkeypatch):
    monkeypatch.setattr(reader.datasets.shard_cache, "_PART_BYTES", 1000)
    load(dataset, cache, split="train")
    assert checksums(cache) == expected_checksums(dataset, "train")
    sizes = [path.stat().st_size for path in dataset.glob("train-*.tfrecord")]
    assert len(reads) == sum(-(-size // 1000) for size in sizes)


def test_the_folder_is_made_and_may_be_a_path_or_a_text(dataset, tmp_path):
    nested = tmp_path / "a" / "b"
    load(dataset, nested, split="train")
    reader.load(
        dataset, split="train", batch_size=8, image_size=8, cache=str(tmp_path / "c")
    )
    assert len(files(nested)) == len(files(tmp_path / "c")) == 3


def test_batches_are_read_from_the_copies(own_dataset, cache, order):
    batches = load(own_dataset, cache, split="train", epochs=2, seed=3)
    for shard in own_dataset.glob("*.tfrecord"):
        shard.unlink()
    assert keys(batches) == order


@pytest.mark.parametrize(
    "settings",
    [
        {"bucket_by_length": True},
        {"remainder": "pad", "batch_size": 32},
        {"shuffle": False},
    ],
    ids=repr,
)
def test_batches_are_the_same_as_without(dataset, cache, settings):
    usual = {"split": "train", "image_size": 8, "outputs": ("image", "key"), **settings}
    pairs = zip(load(dataset, cache, **usual), load(dataset, **usual), strict=True)
    for (image, key), (other_image, other_key) in pairs:
        assert (key.numpy() == other_key.numpy()).all()
        assert (image.numpy() == other_image.numpy()).all()


def test_a_run_goes_on_with_a_cache_and_without(dataset, cache, order):
    settings = {"split": "train", "epochs": 2, "seed": 3}
    kept, plain = (load(dataset, folder, **settings) for folder in (cache, None))
    assert reader.state(kept, 5) == reader.state(plain, 5)
    state = json.loads(json.dumps(reader.state(kept, 5)))
    for folder in (cache, None):
        assert keys(load(dataset, folder, **settings, resume=state)) == order[5 * 8 :]


def test_hosts_may_share_a_folder(dataset, cache, order):
    loaded = [
        keys(load(dataset, cache, split="train", seed=3, host_index=host, host_count=2))
        for host in range(2)
    ]
    assert sorted(loaded[0] + loaded[1]) == sorted(order[:48])


def test_parts_of_a_mixture_share_a_folder(dataset, own_dataset, cache):
    """Two parts are identical byte for byte, so one copy is enough."""
    mixture = {
        f"{folder}/{split}-*": 1
        for folder in (dataset, own_dataset)
        for split in ("train", "validation")
    }
    batches = load(mixture, cache, epochs=None).take(20)
    assert keys(batches) == keys(load(mixture, epochs=None).take(20))
    assert len(files(cache)) == 4


def test_another_version_of_a_dataset_has_copies_of_its_own(
    dataset, many, cache, tmp_path
):
    """Two datasets with the same shard names use one folder, one after the other."""
    place = tmp_path / "out"
    for source in (dataset, many):
        shutil.copytree(source, place)
        expected = keys(load(place / "train-*"))
        assert keys(load(place / "train-*", cache)) == expected
        shutil.rmtree(place)


def test_two_loads_at_once_share_a_folder(dataset, cache, order):
    with ThreadPoolExecutor(4) as pool:
        tasks = [
            pool.submit(load, dataset, cache, split="train", epochs=2, seed=3)
            for _ in range(4)
        ]
        loaded = [task.result() for task in tasks]
    assert checksums(cache) == expected_checksums(dataset, "train")
    assert [keys(batches) for batches in loaded] == [order] * 4


# Incomplete and damaged copies.


def test_what_another_process_left_half_done_is_no_copy(dataset, cache, order, reads):
    load(dataset, cache, split="train")
    reads.clear()
    shard, *_ = files(cache)
    partial = shard.with_name("tmpabcdefgh")
    partial.write_bytes(shard.read_bytes()[:100])
    shard.unlink()
    batches = load(dataset, cache, split="train", epochs=2, seed=3)
    assert reads == [shard.name]
    assert keys(batches) == order


def test_a_copy_that_was_cut_short_is_made_again(dataset, cache, reads):
    load(dataset, cache, split="train")
    reads.clear()
    shard, *_ = files(cache)
    shard.write_bytes(shard.read_bytes()[:-1])
    load(dataset, cache, split="train")
    assert reads == [shard.name]
    assert checksums(cache) == expected_checksums(dataset, "train")


def test_a_shard_with_another_checksum_is_refused_and_leaves_no_file(
    own_dataset, cache
):
    shard = sorted(own_dataset.glob("train-*.tfrecord"))[1]
    data = bytearray(shard.read_bytes())
    data[5000] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(reader.DatasetError, match=f"{shard}.*checksum"):
        load(own_dataset, cache, split="train")
    expected = expected_checksums(own_dataset, "train")
    del expected[shard.name]
    assert checksums(cache).items() <= expected.items()


# Errors.


def test_files_of_others_are_refused(tmp_path, cache):
    path = tmp_path / "x.record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"k"]))
        features = tf.train.Features(feature={"image/source_id": feature})
        writer.write(tf.train.Example(features=features).SerializeToString())
    with pytest.raises(reader.UsageError, match="cache needs a manifest") as raised:
        load(path, cache, batch_size=1)
    assert "x.record" in str(raised.value)
    assert not cache.exists()


def test_compressed_files_are_refused(tmp_path, cache):
    path = tmp_path / "x.record"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"k"]))
        features = tf.train.Features(feature={"image/source_id": feature})
        writer.write(tf.train.Example(features=features).SerializeToString())
    with pytest.raises(reader.UsageError, match="cache"):
        load(path, cache, batch_size=1)


def test_what_is_wrong_is_told_before_anything_is_copied(dataset, cache):
    for settings in ({"batch_size": 99}, {"resume": {"step": 1}}, {"max_tokens": 1}):
        with pytest.raises(reader.UsageError):
            load(dataset, cache, split="train", outputs=("tokens",), **settings)
    assert not cache.exists()


def test_a_folder_that_cannot_be_made_is_named(dataset, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(reader.UsageError, match=f"cache=.*{tmp_path}/file"):
        load(dataset, tmp_path / "file" / "cache", split="train")


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Limits the size of written files, to simulate a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_without_room_is_named_and_left_clean(dataset, cache, order):
    sizes = [path.stat().st_size for path in dataset.glob("train-*.tfrecord")]
    limit = min(sizes) - 1
    with largest_file(limit), pytest.raises(reader.UsageError) as raised:
        load(dataset, cache, split="train")
    assert f"cache='{cache}'" in str(raised.value)
    assert str(sum(sizes)) in str(raised.value)
    assert files(cache) == []
    assert keys(load(dataset, cache, split="train", epochs=2, seed=3)) == order


def test_an_empty_path_does_not_mean_the_working_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(reader.UsageError, match="cache"):
        reader.load(dataset, split="train", batch_size=8, image_size=8, cache="")
    assert not files(tmp_path)


def test_the_cache_is_not_to_blame_for_a_shard_that_cannot_be_read(
    dataset, cache, monkeypatch
):
    def fail(path: str, *args: int) -> bytes:
        raise OSError(f"{path} cannot be read: connection reset")

    monkeypatch.setattr(reader.datasets.shard_cache, "read_bytes", fail)
    with pytest.raises((OSError, reader.DatasetError, reader.UsageError)) as raised:
        load(dataset, cache, split="train")
    assert "connection reset" in str(raised.value)
    assert "cannot write" not in str(raised.value)
    assert not files(cache)


# Buckets.


def test_a_bucket_is_asked_for_each_shard_once(
    bucket_store: Any,
    dataset: Path,
    cache: Path,
    order: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    bucket = bucket_store.upload(dataset, "cached")
    with faulty(bucket_store, monkeypatch) as proxy:
        for _ in range(2):  # The second time, all shards are cached.
            batches = load(bucket, cache, split="train", epochs=2, seed=3)
            assert keys(batches) == order
        counts = proxy.by_object("GET")
    shards = list(dataset.glob("train-*.tfrecord"))
    asked = {path.name: counts[f"cached/{path.name}"] for path in shards}
    sizes = {path.name: path.stat().st_size for path in shards}
    assert {name: count.bytes for name, count in asked.items()} == sizes
    assert {count.requests for count in asked.values()} == {1}
    assert checksums(cache) == expected_checksums(dataset, "train")
