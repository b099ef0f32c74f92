"""`reader.stream`: the batches of `reader.load`, bit for bit, and its states."""

import contextlib
import gc
import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from foreign_records import row, write
from loaded_batches import NUM_TRAIN
from patience import SOON_SECONDS

import reader
from reader.datasets.record_index import RecordIndex

GOLDEN = Path(__file__).parents[2] / "golden"
USUAL = {"split": "train", "batch_size": 8, "image_size": 24, "workers": 2}


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = tuple(found.values()), tuple(expected.values())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)


def assert_streams_as_load(pattern: Any, iterators: int = 1, **settings: Any) -> None:
    """Compares with what TensorFlow reads and parses, and with what workers do."""
    settings = {**USUAL, **settings}
    by_tensorflow = reader.load(pattern, **{**settings, "workers": 0})
    loaded = reader.load(pattern, **settings)
    streamed = reader.stream(pattern, **settings)
    limit = 8 if settings.get("epochs", 1) is None else None
    if limit is None:
        assert len(streamed) == len(loaded) == len(by_tensorflow)
    assert loaded.element_spec == by_tensorflow.element_spec
    for _ in range(iterators):
        batches = zip(
            *(
                itertools.islice(each, limit)
                for each in (
                    by_tensorflow.as_numpy_iterator(),
                    loaded.as_numpy_iterator(),
                    streamed,
                )
            ),
            strict=True,
        )
        for expected, *found in batches:
            for one in found:
                assert_same(one, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"workers": 0},
        {"image_size": (20, 33), "crop": "none", "dtype": "uint8"},
        {"crop": "random_resized", "flip": True, "seed": 5, "caption": "random"},
        {"crop": "random", "crop_fraction": 0.5, "normalize": "imagenet"},
        {"dtype": "bfloat16", "normalize": "clip", "data_format": "channels_first"},
        {"epochs": 3, "start_step": 7},
        {"epochs": None, "start_example": 31, "batch_size": 5},
        {"remainder": "pad", "batch_size": 13, "normalize": "clip", "epochs": 2},
        {"remainder": "pad", "batch_size": 13, "caption": "all", "dtype": "bfloat16"},
        {"caption": "all", "max_captions": 2, "max_tokens": 3},
        {"max_tokens": 5, "add_special_tokens": False},
        {"bucket_by_length": True, "epochs": 3, "shuffle_bytes": 60_000},
        {"bucket_by_length": True, "caption": "random", "remainder": "pad"},
        {"bucket_by_length": True, "caption": "all", "batch_size": 10, "host_count": 5},
        {"shuffle": False, "remainder": "pad", "batch_size": 13},
        {"host_count": 5, "host_index": 3, "batch_size": 15, "epochs": 2},
        {"streams": 7, "shuffle_bytes": 30_000},
        {"on_corrupt": "skip", "outputs": ("valid", "image")},
        {"outputs": ("key", "caption", "length", "height", "width"), "prefetch": 0},
        {"outputs": ("mask", "key"), "remainder": "pad", "batch_size": 13},
        {"outputs": ("image",), "prefetch": 40},
        {"outputs": ("encoded", "key"), "remainder": "pad", "batch_size": 13},
        {"outputs": ("image", "encoded", "tokens"), "crop": "random"},
    ],
    ids=str,
)
def test_batches_are_those_of_load(dataset, settings):
    assert_streams_as_load(dataset, iterators=2, **settings)


@pytest.mark.parametrize("seed", range(6))
def test_batches_are_those_of_load_for_random_arguments(dataset, seed):
    choose = random.Random(seed).choice
    host_count = choose([1, 2, 3, 7])
    settings = {
        "image_size": choose([8, 24, (17, 31), 300]),
        "crop": choose(["center", "random", "random_resized", "none"]),
        "flip": choose([True, False]),
        "dtype": choose(["uint8", "float32"]),
        "max_tokens": choose([3, 20, 64]),
        "caption": choose(["first", "random", "all"]),
        "bucket_by_length": choose([True, False]),
        "seed": choose([0, 7]),
        "shuffle_bytes": choose([1, 50_000, 1 << 26]),
        "streams": choose([5, 192, 1000]),
        "epochs": choose([1, 2, None]),
        "start_step": choose([0, 1, 5]),
        "remainder": choose(["drop", "pad"]),
        "host_count": host_count,
        "host_index": choose(range(host_count)),
        "batch_size": host_count * choose([1, 2, 6]),
        "prefetch": choose([0, 2, 5]),
        "workers": choose([0, 1, 3]),
    }
    assert_streams_as_load(dataset, iterators=2, **settings)


@pytest.mark.parametrize("image_format", ["png", "raw"])
def test_other_formats(build, sample, tmp_path, image_format):
    folders = sample / "images", sample / "captions"
    out = build(*folders, tmp_path / "out", image_format=image_format)
    assert_streams_as_load(out, crop="random_resized", flip=True, epochs=2)
    assert_streams_as_load(out, outputs=("encoded", "image", "height", "width"))
    assert_streams_as_load(out, outputs=("encoded", "height", "width"), workers=0)


@pytest.mark.parametrize("golden", sorted(GOLDEN.iterdir()), ids=lambda path: path.name)
def test_datasets_of_all_versions(golden):
    folder = golden / "dataset"
    captions = {"caption": "all", "max_captions": 2}
    for more in ({}, {**captions, "remainder": "pad", "batch_size": 5}):
        assert_streams_as_load(folder, **{"batch_size": 2, **more})


def test_encoded_images_are_those_of_the_records(dataset):
    stored = {}
    for file in sorted(dataset.glob("train-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            (key,) = feature["image/source_id"].bytes_list.value
            stored[key] = feature["image/encoded"].bytes_list.value[0]
    settings = {**USUAL, "batch_size": 1, "outputs": ("key", "encoded")}
    batches = itertools.chain.from_iterable(
        zip(keys, images, strict=True)
        for keys, images in reader.stream(dataset, **settings)
    )
    assert dict(batches) == stored


def test_unions_and_mixtures(dataset):
    train, validation = f"{dataset}/train-*", f"{dataset}/validation-*"
    assert_streams_as_load([train, validation], split=None, epochs=2)
    assert_streams_as_load({train: 3, validation: 1}, split=None, epochs=None)


def test_files_from_other_tools(tmp_path):
    path = write(tmp_path / "a", map(row, range(20)))
    for more in ({}, {"outputs": ("key", "image", "caption"), "shuffle": False}):
        assert_streams_as_load(path, split=None, batch_size=3, **more)


# States.


def test_states_are_those_of_load_and_either_goes_on(dataset):
    usual = {**USUAL, "epochs": 3, "crop": "random", "batch_size": 7}
    loaded = reader.load(dataset, **usual)
    expected = list(loaded.as_numpy_iterator())
    for step in (0, 1, 6, 8, 17):
        streamed = reader.stream(dataset, **usual)
        list(itertools.islice(streamed, step))
        state = json.loads(json.dumps(streamed.state_dict()))
        assert state == reader.state(streamed, step) == reader.state(loaded, step)
        going_on = reader.stream(dataset, **usual, resume=state)
        for one, other in zip(going_on, expected[step:], strict=True):
            assert_same(one, other)
        again = reader.load(dataset, **usual, resume=state).as_numpy_iterator()
        for one, other in zip(again, expected[step:], strict=True):
            assert_same(one, other)


def test_a_state_is_loaded_into_a_stream(dataset):
    usual = {**USUAL, "epochs": 2}
    expected = list(reader.stream(dataset, **usual))
    first = reader.stream(dataset, **usual)
    iterator = iter(first)
    for _ in range(5):
        next(iterator)
    other = reader.stream(dataset, **usual)
    next(iter(other))  # What was read before does not matter.
    other.load_state_dict(first.state_dict())
    assert other.state_dict() == first.state_dict()
    for one, another in zip(other, expected[5:], strict=True):
        assert_same(one, another)
    assert other.state_dict()["step"] == len(expected)
    with pytest.raises(reader.UsageError, match="seed=0, and this run has seed=1"):
        reader.stream(dataset, **usual, seed=1).load_state_dict(first.state_dict())


def test_hosts_of_any_number_go_on_with_a_state(dataset):
    usual = {**USUAL, "outputs": ("key",), "remainder": "pad"}
    state, taken = None, []
    for batch_size, host_count, steps in [(6, 3, 3), (10, 5, 2), (1, 1, 10)]:
        for host in range(host_count):
            streamed = reader.stream(
                dataset,
                **{**usual, "batch_size": batch_size},
                host_count=host_count,
                host_index=host,
                resume=state,
            )
            taken += [
                key for (keys,) in itertools.islice(streamed, steps) for key in keys
            ]
        state = streamed.state_dict()
    assert len(taken) == len(set(taken)) == NUM_TRAIN


def test_a_stream_that_was_left_has_no_state(dataset):
    streamed = reader.stream(dataset, **USUAL)
    next(iter(streamed))
    next(iter(streamed))
    with pytest.raises(reader.UsageError, match="was left before its end"):
        streamed.state_dict()
    endless = reader.stream(dataset, **USUAL, epochs=None)
    next(iter(endless))
    next(iter(endless))
    assert endless.state_dict()["step"] == 1


# Memory and ends.


def test_kept_batches_stay_as_they_are(dataset):
    streamed = reader.stream(dataset, **USUAL, epochs=None)
    kept, copies = [], []
    for batch in itertools.islice(streamed, 60):
        kept.append(batch)
        copies.append({name: values.copy() for name, values in batch.items()})
    for batch, copy in zip(kept, copies, strict=True):
        assert_same(batch, copy)


def test_nothing_is_left_of_a_stream_that_is_left(dataset):
    before = {child.pid for child in psutil.Process().children()}
    for num in (0, 1, 3):
        iterator = iter(reader.stream(dataset, **USUAL, prefetch=5))
        for _ in range(num):
            next(iterator)
        del iterator
        gc.collect()
        end = time.monotonic() + SOON_SECONDS
        while {child.pid for child in psutil.Process().children()} - before:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_worker_needs_no_threads_for_large_images(dataset):
    before = {child.pid for child in psutil.Process().children()}
    large = {**USUAL, "image_size": 512, "workers": 1}
    iterator = iter(reader.stream(dataset, **large, epochs=None))
    for _ in range(3):
        next(iterator)
    (worker,) = {child.pid for child in psutil.Process().children()} - before
    # One makes images, and one waits for the end of this process.
    assert psutil.Process(worker).num_threads() == 2


def test_more_iterators_than_one_may_be_read(dataset):
    streamed = reader.stream(dataset, **USUAL, epochs=None)
    one, other = iter(streamed), iter(streamed)
    for _ in range(20):
        assert_same(next(one), next(other))


@pytest.mark.parametrize("prefetch", [0, 2, 50])
def test_many_iterators_may_be_read_in_turn(dataset, prefetch):
    streamed = reader.stream(dataset, **USUAL, epochs=None, prefetch=prefetch)
    iterators = [iter(streamed) for _ in range(20)]
    for _ in range(3):
        first, *others = [next(iterator) for iterator in iterators]
        for other in others:
            assert_same(other, first)


@pytest.mark.parametrize("where", ["record", "index"])
def test_an_error_keeps_nothing_until_the_next_garbage_collection(
    own_dataset, monkeypatch, where
):
    if where == "record":
        damage(own_dataset)
    else:
        places, known = RecordIndex.places, []

        def failing(self, numbers):
            if known:
                raise reader.DatasetError("an index is damaged")
            known.append(places(self, numbers))
            return known[0]

        monkeypatch.setattr(RecordIndex, "places", failing)
    gc.collect()
    before = {child.pid for child in psutil.Process().children()}
    gc.disable()
    try:
        iterator = iter(reader.stream(own_dataset, **USUAL, shuffle_bytes=1, epochs=2))
        with contextlib.suppress(reader.DatasetError):
            while True:
                next(iterator)
        del iterator
        end = time.monotonic() + SOON_SECONDS
        while {child.pid for child in psutil.Process().children()} - before:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        gc.enable()


# Damage, and what is refused.


def damage(folder: Path) -> None:
    """Changes a byte in the middle of the first shard."""
    path = min(folder.glob("train-*.tfrecord"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_record_is_named(own_dataset, workers):
    damage(own_dataset)
    with pytest.raises(reader.DatasetError) as streamed:
        list(reader.stream(own_dataset, **{**USUAL, "workers": workers}))
    with pytest.raises(reader.DatasetError) as loaded:
        list(reader.load(own_dataset, **USUAL))
    assert str(streamed.value) == str(loaded.value)


@pytest.mark.parametrize("bucket", [False, True])
def test_a_damaged_record_is_replaced(own_dataset, bucket):
    damage(own_dataset)
    settings = {"on_corrupt": "skip", "outputs": ("image", "tokens", "key", "valid")}
    assert_streams_as_load(own_dataset, **settings, bucket_by_length=bucket)
    streamed = reader.stream(own_dataset, **USUAL, on_corrupt="skip")
    list(streamed)
    assert len(streamed.losses) == 1


def test_batches_before_an_error_are_delivered(own_dataset):
    damage(own_dataset)
    settings = {**USUAL, "batch_size": 1, "shuffle": False, "prefetch": 8}
    loaded = reader.load(own_dataset, **settings, outputs=("key",)).as_numpy_iterator()
    streamed = iter(reader.stream(own_dataset, **settings, outputs=("key",)))
    found = []
    for batches in (loaded, streamed):
        keys = []
        with pytest.raises(Exception, match="corrupt record"):
            while True:
                keys.append(next(batches))
        found.append(len(keys))
    assert 0 < found[1] < NUM_TRAIN


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"ram_budget": 1}, "ram_budget must be at least"),
        ({"outputs": ("pixels",)}, "outputs may name"),
        ({"outputs": ("extra/none",)}, "extra/none"),
        ({"crop": "middle"}, "crop must be"),
        ({"resume": "{}"}, "resume must be a state"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_before_anything_is_read(
    dataset, settings, message
):
    with pytest.raises(reader.UsageError, match=message):
        reader.stream(dataset, **{**USUAL, **settings})


def test_what_needs_tensorflow_is_told(tmp_path):
    path = write(tmp_path / "a", map(row, range(4)), compression="GZIP")
    with pytest.raises(reader.UsageError, match=r"compressed.*reader\.load"):
        reader.stream(path, batch_size=1, image_size=8)
