"""Raw pixels, whose records the pixel workers read themselves."""

import gc
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.config.image_config import ImageConfig
from reader.contract.record import frame_record, parse_example
from reader.pixels.regions import regions_of
from reader.shuffle.randomness import Draws
from reader.storage.tfrecord_file import Record, read_shard

NUM, BATCH = 150, 10
OUTPUTS = ("image", "key", "valid")
LONG = "long " * 4000  # More than all other records without their images.
Pixels = np.ndarray[Any, Any]


class Stored(NamedTuple):
    number: int
    pixels: Pixels
    text: str


def build_noise(build: Any, source: Path, num: int, seed: int = 0) -> Path:
    """Noise of 20 × 20 to 26 × 29 pixels, every tenth of 5 × 9, in two shards."""
    rng = np.random.default_rng(seed)
    for number in range(num):
        size = (20 + number % 7, 20 + number % 10, 3)
        size = (5, 9, 3) if number % 10 == 3 else size
        image = Image.fromarray(rng.integers(0, 256, size, np.uint8))
        image.save(source / f"{seed}-{number:03}.png")
        text = LONG if number == 77 else "very " * (number % 9) + str(number)
        (source / f"{seed}-{number:03}.txt").write_text(text)
    more = {"image_format": "raw", "num_shards": 2}
    return Path(build(source, source, source / "out", resize="none", **more))


@pytest.fixture(scope="module")
def dataset(build, tmp_path_factory) -> Path:
    return build_noise(build, tmp_path_factory.mktemp("raw"), NUM)


@pytest.fixture(scope="module")
def other(build, tmp_path_factory) -> Path:
    return build_noise(build, tmp_path_factory.mktemp("other"), 30, seed=1)


def records_of(folder: Path) -> Iterator[tuple[Path, Record, dict[str, list[Any]]]]:
    for shard in sorted(folder.glob("train-*.tfrecord")):
        for record in read_shard(str(shard)):
            yield shard, record, parse_example(record.data)


def stored_in(folder: Path) -> dict[bytes, Stored]:
    """What is stored of each key, by a plain loop over the records."""
    found = {}
    for number, (_, _, values) in enumerate(records_of(folder)):
        (data,), (text,) = values["image/encoded"], values["image/caption"]
        size = values["image/height"] + values["image/width"] + [3]
        pixels = np.frombuffer(data, np.uint8).reshape(size)
        found[values["image/source_id"][0]] = Stored(number, pixels, text.decode())
    return found


@pytest.fixture(scope="module")
def stored(dataset) -> dict[bytes, Stored]:
    return stored_in(dataset)


def middle(pixels: Pixels, size: int) -> Pixels:
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def load(folder: Path | list[Path], **settings: Any) -> Any:
    settings = {
        "batch_size": BATCH,
        "image_size": 20,
        "crop_fraction": 1.0,
        "dtype": "uint8",
        "outputs": OUTPUTS[: 3 if settings.get("on_corrupt") == "skip" else 2],
        "shuffle_bytes": 60_000,  # Some forty records.
    } | settings
    folders = folder if isinstance(folder, list) else [folder]
    return reader.load([f"{one}/train-*.tfrecord" for one in folders], **settings)


def seen(batches: Any) -> list[tuple[bytes, Pixels]]:
    return [
        (key, image)
        for images, keys, *_ in batches.as_numpy_iterator()
        for key, image in zip(keys.tolist(), images, strict=True)
    ]


@pytest.fixture
def own(dataset, tmp_path) -> Path:
    """A copy of `dataset`, for one test to change."""
    return Path(shutil.copytree(dataset, tmp_path / "out"))


def assert_cut(image: Pixels, pixels: Pixels, region: Any, flipped: bool) -> None:
    """An image is what Pillow makes of a region, within two levels."""
    top, left, height, width = (int(side) for side in region)
    cut = Image.fromarray(pixels[top : top + height, left : left + width])
    size = (image.shape[1], image.shape[0])
    expected = np.asarray(cut.resize(size, Image.Resampling.BILINEAR)).astype(int)
    expected = expected[:, ::-1] if flipped else expected
    assert np.abs(image - expected).max() <= 2


@pytest.mark.parametrize("size", [(20, 20), (11, 17), (40, 33)], ids=str)
@pytest.mark.parametrize("crop", ["center", "random", "random_resized", "none"])
def test_images_are_those_of_pillow(dataset, stored, crop, size):
    settings = {"crop": crop, "flip": True}
    got = seen(load(dataset, image_size=size, seed=3, **settings))
    assert {key for key, _ in got} == set(stored)
    config = ImageConfig(size=size, fraction=1.0, **settings)
    counts, numbers = config.num_draws, np.arange(NUM)
    draws = Draws(3, counts).of(numbers, np.zeros_like(numbers))
    sizes = np.array([one.pixels.shape[:2] for one in stored.values()], np.int32)
    regions = regions_of(sizes, draws[:, : counts["crop"]], config)
    flipped = draws[:, counts["crop"]] < 0.5
    for key, image in got:
        number, pixels, _ = stored[key]
        assert_cut(image, pixels, regions[number], bool(flipped[number]))


@pytest.mark.parametrize("more", [{}, {"shuffle": False}, {"bucket_by_length": True}])
def test_each_key_comes_with_a_cut_of_its_own_pixels(dataset, stored, more):
    squares = {key for key, one in stored.items() if min(one.pixels.shape[:2]) == 20}
    assert len(squares) >= 20
    got = seen(load(dataset, **more))
    assert {key for key, _ in got} == set(stored)
    for key, image in got:
        if key in squares:
            assert np.array_equal(image, middle(stored[key].pixels, 20)), key


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [None, "clip"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_images_are_cast(dataset, dtype, normalize, data_format):
    if dtype == "uint8" and normalize:
        return
    settings = {"dtype": dtype, "normalize": normalize, "data_format": data_format}
    got = dict(seen(load(dataset, **settings)))
    expected = dict(seen(load(dataset)))
    mean, std = np.zeros(3), np.ones(3)
    if normalize:
        mean = np.array([0.48145466, 0.4578275, 0.40821073])
        std = np.array([0.26862954, 0.26130258, 0.27577711])
    for key, image in got.items():
        exact = expected[key].astype(float)
        if dtype != "uint8":
            exact = (exact / 255 - mean) / std
        if data_format == "channels_first":
            exact = exact.transpose(2, 0, 1)
        error = {"uint8": 0, "float32": 1e-5, "bfloat16": 0.01}[dtype]
        assert image.dtype.name == dtype
        assert np.abs(image.astype(float) - exact).max() <= error


def test_all_that_a_record_holds_comes_with_its_image(dataset, stored):
    """Also if it is far longer than that of others."""
    outputs = ("key", "caption", "height", "width", "image", "tokens")
    keys = set()
    for values in load(dataset, outputs=outputs, max_tokens=5).as_numpy_iterator():
        for key, text, height, width, image, tokens in zip(*values, strict=True):
            assert text.decode() == stored[key].text
            assert (height, width) == stored[key].pixels.shape[:2]
            assert image.shape == (20, 20, 3) and tokens.shape == (5,)
            keys.add(key)
    assert keys == set(stored)


@pytest.mark.parametrize("crop", ["center", "random_resized"])
def test_this_process_makes_the_images_of_the_workers(own, stored, crop):
    flip_a_byte(own, list(stored)[70])
    settings = {"crop": crop, "flip": True, "dtype": "float32", "on_corrupt": "skip"}
    found = [
        [[*map(np.copy, batch)] for batch in batches.as_numpy_iterator()]
        for batches in (load(own, workers=num, **settings) for num in (0, 1, 3))
    ]
    for batches in found[1:]:
        for batch, expected in zip(batches, found[0], strict=True):
            for values, others in zip(batch, expected, strict=True):
                assert np.array_equal(values, others)


def test_epochs_differ_in_their_order_alone(dataset):
    batches = load(dataset)
    one, two = seen(batches), seen(batches)
    assert [key for key, _ in one] != [key for key, _ in two]
    assert dict(one).keys() == dict(two).keys()
    again = dict(one)
    assert all(np.array_equal(again[key], image) for key, image in two)
    both = seen(load(dataset, epochs=2))
    assert [key for key, _ in both] == [key for key, _ in one + two]


def test_datasets_are_read_as_one(dataset, other, stored):
    all_stored = stored | stored_in(other)
    got = seen(load([dataset, other], crop="none"))
    assert {key for key, _ in got} == set(all_stored) and len(got) == NUM + 30
    for key, image in got:
        pixels = all_stored[key].pixels
        assert_cut(image, pixels, (0, 0, *pixels.shape[:2]), flipped=False)


def test_datasets_are_mixed(dataset, other, stored):
    all_stored = stored | stored_in(other)
    patterns = {f"{folder}/train-*": 1 for folder in (dataset, other)}
    batches = reader.load(
        patterns,
        batch_size=BATCH,
        image_size=20,
        crop="none",
        dtype="uint8",
        outputs=("image", "key"),
        epochs=None,
    )
    got = seen(batches.take(20))
    assert 60 <= sum(key.startswith(b"1-") for key, _ in got) <= 140
    for key, image in got:
        pixels = all_stored[key].pixels
        assert_cut(image, pixels, (0, 0, *pixels.shape[:2]), flipped=False)


def test_hosts_share_the_batches_of_one(dataset):
    whole = load(dataset, flip=True)
    shares = [load(dataset, flip=True, host_count=2, host_index=i) for i in (0, 1)]
    alone, parts = dict(seen(whole)), [seen(share) for share in shares]
    assert [len(part) for part in parts] == [NUM // 2, NUM // 2]
    for key, image in parts[0] + parts[1]:
        assert np.array_equal(image, alone.pop(key))


def test_a_last_batch_is_padded_with_black(dataset, stored):
    batches = load(
        dataset, batch_size=40, remainder="pad", outputs=("image", "key", "valid")
    )
    *_, (images, keys, valid) = batches.as_numpy_iterator()
    assert valid.tolist() == [True] * 30 + [False] * 10
    assert not images[30:].any() and set(keys[:30]) <= set(stored)


# Damage.


def flip_a_byte(folder: Path, *keys: bytes) -> list[str]:
    """Damages the pixels of some keys; returns their shards."""
    places = [
        (shard, record.offset + 12 + len(record.data) // 2)
        for shard, record, values in records_of(folder)
        if values["image/source_id"][0] in keys
    ]
    assert len(places) == len(keys)
    for shard, place in places:
        data = bytearray(shard.read_bytes())
        data[place] ^= 1
        shard.write_bytes(data)
    return [str(shard) for shard, _ in places]


def test_a_damaged_picture_is_named(own, stored):
    key = sorted(stored)[70]
    (shard,) = flip_a_byte(own, key)
    with pytest.raises(reader.DatasetError) as caught:
        seen(load(own))
    assert shard in str(caught.value) and f'key "{key.decode()}"' in str(caught.value)


def test_what_comes_before_a_damaged_picture_is_read(own, stored):
    keys = list(stored)
    flip_a_byte(own, keys[75])
    iterator = load(own, shuffle=False).as_numpy_iterator()
    got = [key for _ in range(7) for key in next(iterator)[1].tolist()]
    assert got == keys[:70]
    with pytest.raises(reader.DatasetError, match=keys[75].decode()):
        next(iterator)


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


@pytest.mark.parametrize("num_threads", [1, 8])  # 8 read three batches at a time.
def test_each_epoch_tells_its_damaged_pictures(own, stored, caplog, num_threads):
    keys = list(stored)
    flip_a_byte(own, keys[0], keys[70], keys[-1])
    more = {"on_corrupt": "skip", "epochs": 3, "num_threads": num_threads}
    batches = load(own, **more)
    with caplog.at_level(logging.WARNING, "reader"):
        assert len(seen(batches)) == 3 * NUM
    told = [record.getMessage() for record in caplog.records]
    starts = [f"epoch {epoch}: 3 of {NUM} records could not" for epoch in range(3)]
    assert [text[: len(starts[0])] for text in told] == starts
    assert len(batches.losses) == 3


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
@pytest.mark.parametrize("how", ["cut", "gone", "empty"])
def test_a_shard_that_is_not_whole_is_an_error_that_names_it(own, how, on_corrupt):
    batches = load(own, shuffle=False, on_corrupt=on_corrupt)
    shard = sorted(own.glob("train-*.tfrecord"))[1]
    if how == "gone":
        shard.unlink()
    else:
        # All of the last block, so that nothing is left to replace it.
        shard.write_bytes(b"" if how == "empty" else shard.read_bytes()[:1000])
    with pytest.raises(reader.DatasetError, match=shard.name):
        seen(batches)


def test_what_is_cut_off_is_replaced(own, stored):
    batches = load(own, on_corrupt="skip")
    shard = sorted(own.glob("train-*.tfrecord"))[1]
    shard.write_bytes(shard.read_bytes()[:-2000])
    valid = [bool(one) for *_, flags in batches.as_numpy_iterator() for one in flags]
    assert 0 < valid.count(False) < 10
    assert len(batches.losses) == valid.count(False)


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_pixels_of_another_number_than_height_and_width_say_are_named(own, on_corrupt):
    shard, record, values = next(records_of(own))
    begin = b"image/height\x12\5\x1a\3\n\1"
    at = record.data.index(begin) + len(begin)
    changed = bytearray(record.data)
    changed[at] += 1
    head, foot = frame_record(bytes(changed))
    data = shard.read_bytes()
    end = record.offset + len(head) + len(changed) + len(foot)
    shard.write_bytes(data[: record.offset] + head + changed + foot + data[end:])
    with pytest.raises(reader.DatasetError) as caught:
        seen(load(own, on_corrupt=on_corrupt))
    (height,), (width,) = values["image/height"], values["image/width"]
    told = f"it has {3 * height * width} bytes, not {height + 1} × {width} × 3"
    assert told in str(caught.value)
    assert f'{shard} at byte 0 (key "' in str(caught.value)


# Memory and ends.


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [pid for path in tasks for pid in path.read_text().split()]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts files in /proc")
def test_nothing_stays_of_batches_that_are_gone(dataset):
    def read(left_early: bool) -> None:
        batches = load(dataset)
        iterator = iter(batches)
        next(iterator)
        if not left_early:
            list(iterator)
        assert len(children()) > len(before)

    def settled() -> tuple[list[str], int]:
        """What there is when nothing has changed for a while."""
        gc.collect()
        before, now = None, (children(), open_files())
        while now != before:
            time.sleep(0.3)
            before, now = now, (children(), open_files())
        return now

    before, _ = settled()
    read(False)
    _, files = settled()
    for left_early in (True, False, True):
        read(left_early)
    left, left_files = settled()  # What other tests have left may go meanwhile.
    assert set(left) <= set(before)
    assert left_files <= files


def test_an_iterator_left_early_is_followed_by_a_whole_one(dataset, stored):
    batches = load(dataset)
    for _ in range(3):
        next(iter(batches))
    assert {key for key, _ in seen(batches)} == set(stored)


def test_batches_stay_what_they_were(dataset):
    """Pixels lie in memory that is used again: not while anybody holds a batch."""
    batches = list(load(dataset, outputs=("image",), epochs=3))
    copies = [batch[0].numpy().copy() for batch in batches]
    for _ in load(dataset, outputs=("image",), epochs=3):
        pass
    for (batch,), copy in zip(batches, copies, strict=True):
        assert np.array_equal(batch.numpy(), copy)


def test_shapes_are_known_before_reading(dataset):
    image, key = load(dataset, dtype="bfloat16").element_spec
    assert (image.shape, image.dtype) == ((BATCH, 20, 20, 3), tf.bfloat16)
    assert key.shape == (BATCH,)
