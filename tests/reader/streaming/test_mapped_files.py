"""Raw pixels are read from mapped files, which may be cut short meanwhile."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reader

NUM = 256
SETTINGS = {"batch_size": 8, "image_size": 32, "dtype": "uint8", "shuffle": False}


@pytest.fixture(scope="module")
def raw(build, tmp_path_factory) -> Path:
    """256 raw pictures of 64 pixels, on one shard."""
    source = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    for number in range(NUM):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"{number:03}.png")
        (source / f"{number:03}.txt").write_text(str(number))
    settings = {"image_format": "raw", "resize": "none", "num_shards": 1}
    return build(source, source, source / "out", **settings)


@pytest.fixture
def own(raw: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw, tmp_path / "out"))


def begin_of(folder: Path, number: int) -> int:
    """Byte offset of a record."""
    lengths = np.fromfile(folder / "index/lengths.bin", "<u4")
    return int(lengths[:number].sum())


def cut_short(folder: Path, number: int) -> Path:
    """Cuts the shard in the middle of a record; returns its path."""
    (shard,) = folder.glob("*.tfrecord")
    os.truncate(shard, begin_of(folder, number) + 6000)
    return shard


@pytest.mark.parametrize("function", ["load", "stream"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_shard_that_is_cut_short_meanwhile_is_named(own, function, workers, caplog):
    batches = iter(getattr(reader, function)(own, workers=workers, **SETTINGS))
    next(batches)
    shard = cut_short(own, NUM - 2)
    with (
        caplog.at_level(logging.WARNING, "reader"),
        pytest.raises(reader.DatasetError, match="truncated") as caught,
    ):
        for _ in range(NUM):
            next(batches)
    assert str(shard) in str(caught.value)
    assert f"at byte {begin_of(own, NUM - 2)}" in str(caught.value)
    if function == "stream":
        told = [record.message for record in caplog.records]
        assert sum("mapped into memory" in each for each in told) == 1


def test_it_goes_on_with_all_other_records(own, raw):
    settings = {**SETTINGS, "on_corrupt": "skip", "outputs": ("image", "key", "valid")}
    wanted = list(reader.stream(raw, workers=0, **settings))
    stream = reader.stream(own, workers=2, **settings)
    batches = iter(stream)
    found = [next(batches)]
    cut_short(own, NUM - 2)
    found += list(batches)
    assert len(found) == len(wanted)
    num_lost = 0
    for (images, keys, valid), (others, their_keys, _) in zip(
        found, wanted, strict=True
    ):
        assert np.array_equal(images[valid], others[valid])
        assert keys[valid].tolist() == their_keys[valid].tolist()
        num_lost += np.count_nonzero(~valid)
    assert num_lost == len(stream.losses) == 2
    again = list(stream)  # The next epoch.
    assert sum(np.count_nonzero(~valid) for *_, valid in again) == 2


def test_mapped_and_read_records_are_the_same(raw):
    settings = {**SETTINGS, "shuffle": True, "crop": "random_resized", "flip": True}
    for one, other in zip(
        reader.stream(raw, workers=2, **settings),
        reader.stream(raw, workers=0, **settings),
        strict=True,
    ):
        assert np.array_equal(one["image"], other["image"])


def test_damage_in_a_mapped_shard_is_found(own):
    (shard,) = own.glob("*.tfrecord")
    with shard.open("r+b") as file:
        file.seek(begin_of(own, 100) + 5000)
        file.write(b"\xff\x00\xff\x01")
    with pytest.raises(reader.DatasetError, match="checksum") as caught:
        list(reader.stream(own, workers=2, **SETTINGS))
    assert f"at byte {begin_of(own, 100)}" in str(caught.value)
