"""Raw pixels, which are taken out of records as these are read."""

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import frame_record, parse_example
from reader.records.memory import Arrays
from reader.storage.tfrecord_file import read_shard

NUM, BATCH = 150, 10
Pixels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def dataset(build, tmp_path_factory) -> Path:
    """150 pictures of noise, of 20 × 20 to 26 × 29 pixels, in two shards."""
    source = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    for number in range(NUM):
        size = (20 + number % 7, 20 + number % 10, 3)
        image = Image.fromarray(rng.integers(0, 256, size, np.uint8))
        image.save(source / f"{number:03}.png")
        (source / f"{number:03}.txt").write_text("very " * (number % 9) + str(number))
    return build(
        source,
        source,
        source / "out",
        resize="none",
        image_format="raw",
        num_shards=2,
    )


@pytest.fixture(scope="module")
def stored(dataset) -> dict[bytes, Pixels]:
    """The pixels of each key, by a plain loop over the records."""
    found = {}
    for shard in sorted(dataset.glob("train-*.tfrecord")):
        for record in read_shard(str(shard)):
            values = parse_example(record.data)
            (data,) = values["image/encoded"]
            size = values["image/height"] + values["image/width"] + [3]
            found[values["image/source_id"][0]] = np.frombuffer(data, np.uint8).reshape(
                size
            )
    return found


def middle(pixels: Pixels, size: int) -> Pixels:
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def load(folder: Path, **settings: Any) -> Any:
    settings = {
        "batch_size": BATCH,
        "image_size": 20,
        "crop_fraction": 1.0,
        "dtype": "uint8",
        "outputs": ("image", "key", "valid")[: 3 if "on_corrupt" in settings else 2],
        "shuffle_bytes": 60_000,  # Some forty records.
    } | settings
    return reader.load(f"{folder}/train-*.tfrecord", **settings)


def seen(batches: Any) -> list[tuple[bytes, Pixels]]:
    return [
        (key, image)
        for images, keys, *_ in batches.as_numpy_iterator()
        for key, image in zip(keys.tolist(), images, strict=True)
    ]


def flip_a_byte(folder: Path, key: bytes) -> str:
    """Damages the pixels of a key; returns its shard."""
    for shard in sorted(folder.glob("train-*.tfrecord")):
        for record in read_shard(str(shard)):
            if parse_example(record.data)["image/source_id"] == [key]:
                data = bytearray(shard.read_bytes())
                data[record.offset + 12 + len(record.data) // 2] ^= 1
                shard.write_bytes(data)
                return str(shard)
    raise AssertionError(key)


@pytest.fixture
def own(dataset, tmp_path) -> Path:
    """A copy of `dataset`, for one test to change."""
    return Path(shutil.copytree(dataset, tmp_path / "out"))


@pytest.mark.parametrize("more", [{}, {"shuffle": False}, {"bucket_by_length": True}])
def test_each_key_comes_with_a_cut_of_its_own_pixels(dataset, stored, more):
    # The largest square of 20 × 20 to 26 × 29 pixels; most are resampled to 20.
    squares = {key for key, pixels in stored.items() if min(pixels.shape[:2]) == 20}
    got = seen(load(dataset, **more))
    assert len({key for key, _ in got}) == NUM
    assert len(squares) >= 20
    for key, image in got:
        if key in squares:
            assert np.array_equal(image, middle(stored[key], 20)), key


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_are_cut_where_nothing_is_resampled(build, tmp_path, flip):
    rng = np.random.default_rng(0)
    pixels = {
        f"{number}".encode(): rng.integers(0, 256, (8, 8 + number, 3), np.uint8)
        for number in range(24)
    }
    for key, image in pixels.items():
        Image.fromarray(image).save(tmp_path / f"{key.decode()}.png")
        (tmp_path / f"{key.decode()}.txt").write_text("noise")
    out = build(tmp_path, tmp_path, tmp_path / "out", resize="none", image_format="raw")
    got = seen(load(out, batch_size=8, image_size=8, flip=flip))
    assert len(got) == 24
    mirrored = 0
    for key, image in got:
        cut = middle(pixels[key], 8)
        as_it_is = np.array_equal(image, cut)
        assert as_it_is or np.array_equal(image, cut[:, ::-1])
        mirrored += not as_it_is
    assert (0 < mirrored < 24) if flip else not mirrored


def test_a_damaged_picture_is_named(own, stored):
    key = sorted(stored)[70]
    shard = flip_a_byte(own, key)
    with pytest.raises(reader.DatasetError) as caught:
        seen(load(own))
    assert shard in str(caught.value) and f'key "{key.decode()}"' in str(caught.value)


def test_a_damaged_picture_is_skipped_and_nothing_else(own, stored):
    whole = seen(load(own))
    lost = sorted(stored)[70]
    flip_a_byte(own, lost)
    batches = load(own, on_corrupt="skip")
    got = seen(batches)
    valid = [is_so for *_, flags in batches.as_numpy_iterator() for is_so in flags]
    assert sum(valid) == NUM - 1
    for (key, image), (old_key, old_image) in zip(got, whole, strict=True):
        if old_key == lost:  # Its neighbour stands in for it, picture and all.
            assert key != lost
            old_image = dict(whole)[key]
        else:
            assert key == old_key
        assert np.array_equal(image, old_image)


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_shard_that_is_not_whole_is_an_error_that_names_it(own, how):
    batches = load(own, shuffle=False)
    shard = sorted(own.glob("train-*.tfrecord"))[1]
    if how == "cut":
        shard.write_bytes(shard.read_bytes()[:-1000])
    else:
        shard.unlink()
    with pytest.raises(reader.DatasetError, match=shard.name):
        seen(batches)


def test_pixels_of_another_number_than_height_and_width_say_are_an_error(own):
    (shard, *_) = sorted(own.glob("train-*.tfrecord"))
    (record, *_) = read_shard(str(shard))
    begin = b"image/height\x12\5\x1a\3\n\1"
    at = record.data.index(begin) + len(begin)
    changed = bytearray(record.data)
    changed[at] += 1
    head, foot = frame_record(bytes(changed))
    data = shard.read_bytes()
    end = record.offset + len(head) + len(changed) + len(foot)
    shard.write_bytes(data[: record.offset] + head + changed + foot + data[end:])
    with pytest.raises(tf.errors.InvalidArgumentError, match="height × width"):
        seen(load(own))


def test_pictures_that_become_larger_are_those_of_png(build, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        image = Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8))
        image.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("noise")
    raw, png = (
        dict(
            seen(
                load(
                    build(
                        tmp_path,
                        tmp_path,
                        tmp_path / form,
                        resize="none",
                        image_format=form,
                    ),
                    image_size=32,
                    crop="random_resized",
                    flip=True,
                )
            )
        )
        for form in ("raw", "png")
    )
    assert raw.keys() == png.keys()
    assert all(np.array_equal(raw[key], png[key]) for key in raw)


def living_pools():
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Arrays)]


def test_nothing_stays_of_batches_that_are_gone(dataset):
    of_other_tests = weakref.WeakSet(living_pools())
    for left_early in (False, True):
        batches = load(dataset)
        iterator = iter(batches)
        next(iterator)
        if not left_early:
            list(iterator)
        del batches, iterator
    assert not [1 for pool in living_pools() if pool not in of_other_tests]


def test_batches_stay_what_they_were(dataset):
    """Pixels lie in memory that is used again: not while anybody holds a batch."""
    batches = list(load(dataset, outputs=("image",), epochs=3))
    copies = [batch[0].numpy().copy() for batch in batches]
    for _ in load(dataset, outputs=("image",), epochs=3):
        pass
    for (batch,), copy in zip(batches, copies, strict=True):
        assert np.array_equal(batch.numpy(), copy)
