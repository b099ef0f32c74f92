"""Order, resuming and sharding of foreign TFRecords, through `reader.load`.

Expected values come from `tf.data.TFRecordDataset` and `tf.io.decode_image`, or from
the rows that the tests write.
"""

import json
import random

import numpy as np
import pytest
from foreign_records import (
    IMAGE,
    KEY,
    cut_and_resized,
    decoded,
    decoded_by_pillow,
    first_values,
    key_of,
    keys,
    load,
    small,
    write,
)

import reader

SIZE = (24, 36)
SHARED = {"pets_examples": 10, "test": 38, "train": 160}


# Real files.


@pytest.mark.parametrize("name", SHARED)
def test_real_files_are_read_whole_with_the_pixels_of_tensorflow(shared_data, name):
    path = shared_data / "tfrecords" / f"{name}.record"
    names = (IMAGE, KEY, "image/height", "image/width")
    stored = first_values(path, names)
    assert len(stored) == SHARED[name]
    batches = load(
        path,
        batch_size=2,
        image_size=SIZE,
        shuffle=False,
        outputs=("image", "key", "height", "width"),
    )
    assert len(batches) == SHARED[name] // 2
    loaded = list(batches.unbatch().as_numpy_iterator())
    assert [row[1:] for row in loaded] == [row[1:] for row in stored]
    for (image, *_), (encoded, *_) in zip(loaded, stored, strict=True):
        expected = cut_and_resized(decoded(encoded), SIZE)
        # TensorFlow's default transform is a few levels less exact. These images are
        # more than three times as large, so the loader decodes a smaller version.
        assert np.abs(image - expected).mean() * 255 < 3
        exact = cut_and_resized(decoded_by_pillow(encoded), SIZE)
        assert np.abs(image - exact).mean() * 255 < 3
        assert np.percentile(np.abs(image - exact), 99) * 255 < 30


def test_real_files_of_one_kind_are_read_together(shared_data):
    folder = shared_data / "tfrecords"
    paths = [folder / "train.record", folder / "test.record"]
    stored = [value for path in paths for (value,) in first_values(path, [KEY])]
    assert sorted(keys(load(paths, batch_size=11))) == sorted(stored)


def test_steps_and_coverage_of_real_files_are_known(shared_data):
    path = shared_data / "tfrecords" / "train.record"
    assert reader.steps_per_epoch(path, batch_size=9) == 160 // 9
    covered = reader.coverage(path, batch_size=16, host_count=4)
    assert (covered.num_once, covered.problems) == (160, [])


# Order, resuming, hosts.


@pytest.mark.parametrize("shuffle_bytes", [1, 64 << 20])
@pytest.mark.parametrize("batch_size", [1, 10, 13])
def test_each_record_comes_once_in_each_epoch(numbered, batch_size, shuffle_bytes):
    batches = load(
        numbered / "x-*", batch_size=batch_size, shuffle_bytes=shuffle_bytes, epochs=2
    )
    loaded = keys(batches)
    everything = sorted(map(key_of, range(130)))
    assert sorted(loaded[:130]) == sorted(loaded[130:]) == everything
    assert loaded[:130] != loaded[130:]


def test_without_shuffling_files_follow_each_other(numbered):
    loaded = keys(load(numbered / "x-*", shuffle=False, batch_size=13))
    assert loaded == [key_of(number) for number in range(130)]


def test_a_run_goes_on_exactly_where_it_was(numbered):
    pattern = numbered / "x-*"
    whole = keys(load(pattern, batch_size=10, epochs=3))
    rng = random.Random(5)
    for step in [0, *(rng.randrange(1, 39) for _ in range(2))]:
        batches = load(pattern, batch_size=10, epochs=3)
        taken = [key for (batch,), _ in zip(batches, range(step)) for key in batch]  # noqa: B905
        saved = json.dumps(reader.state(batches, step))
        rest = load(pattern, batch_size=10, epochs=3, resume=saved)
        assert len(rest) == 39 - step
        assert [key.numpy() for key in taken] + keys(rest) == whole


@pytest.mark.parametrize("host_count", [2, 3, 4])
def test_hosts_share_each_step(numbered, host_count):
    pattern = numbered / "x-*"
    whole = keys(load(pattern, batch_size=12))
    for host in range(host_count):
        batches = load(pattern, batch_size=12, host_index=host, host_count=host_count)
        assert len(batches) == 10
        assert keys(batches) == whole[host::host_count]


def test_a_padded_epoch_has_each_record_once_over_all_hosts(numbered):
    loaded: list[bytes] = []
    for host in range(4):
        batches = load(
            numbered / "x-*",
            batch_size=48,
            host_index=host,
            host_count=4,
            remainder="pad",
            outputs=("key", "valid"),
        )
        assert len(batches) == 3
        for key, valid in batches.as_numpy_iterator():
            assert set(key[~valid]) <= {b""}
            loaded += key[valid].tolist()
    assert sorted(loaded) == sorted(map(key_of, range(130)))


def test_a_state_is_refused_for_other_records(tmp_path):
    path = write(tmp_path / "a", map(small, range(8)))
    saved = reader.state(load(path), 3)
    write(path, map(small, range(9)))
    with pytest.raises(reader.UsageError, match="other records"):
        load(path, resume=saved)


@pytest.mark.parametrize("counts", [[1, 1, 1, 0, 0], [0, 0, 2, 0, 1], [0, 3, 0, 0, 0]])
@pytest.mark.parametrize("shuffle", [True, False])
def test_three_records_in_five_files_are_three(tmp_path, counts, shuffle):
    numbers = iter(range(3))
    for place, count in enumerate(counts):
        rows = [small(next(numbers)) for _ in range(count)]
        write(tmp_path / f"part{place}.tfrecord", rows)
    batches = load(tmp_path / "*.tfrecord", shuffle=shuffle)
    assert len(batches) == 3
    loaded = keys(batches)
    assert (sorted(loaded) if shuffle else loaded) == list(map(key_of, range(3)))
