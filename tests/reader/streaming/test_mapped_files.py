"""Raw pixels are read from mapped files, which may be cut short meanwhile."""

import itertools
import logging
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reader
from reader.pixels.errors import PixelWorkerError
from reader.storage.open_files import MappedFiles

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="looks at /proc, which only Linux has"
)

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
    if function == "stream" and workers == 1:  # Others may map the file only then.
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


def test_a_file_takes_one_descriptor_and_is_mapped_once(own):
    (shard,) = own.glob("*.tfrecord")
    files = MappedFiles()
    mapped = files.bytes_of(str(shard))
    assert mapped.tobytes() == shard.read_bytes()
    assert files.bytes_of(str(shard)) is mapped
    opened = [
        os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
    ]
    assert opened.count(os.path.realpath(shard)) == 1
    assert files.bytes_of(str(own / "none")) is None
    (own / "empty").touch()
    assert files.bytes_of(str(own / "empty")) is None


@pytest.mark.parametrize("batches_ahead", [1, 30])
def test_threads_that_share_workers_all_go_on_without_maps(own, caplog, batches_ahead):
    stream = reader.stream(own, workers=1, **SETTINGS)
    workers, windows = stream._reader.workers, stream._windows
    placed = next(windows.placed(stream._reader.access.begin()))
    places, draws = placed.places[:, 1:], placed.draws
    workers.read(places[:4], draws[:4])
    cut_short(own, NUM - 2)
    last = places[-4:], draws[-4:]

    def read(_):
        finishes = [workers.start_read(*last) for _ in range(batches_ahead)]
        return [finish() for finish in finishes]

    with caplog.at_level(logging.WARNING, "reader"), ThreadPoolExecutor(4) as threads:
        found = list(threads.map(read, range(4)))
    assert len([r for r in caplog.records if "mapped" in r.message]) == 1
    assert workers.error is None
    for _, parts in itertools.chain(*found):
        assert sum(len(part.rows) for part in parts) == 2  # The others are lost.


def test_jpegs_are_not_blamed_for_a_bus_error(dataset):
    settings = {"batch_size": 4, "image_size": 32, "workers": 2, "epochs": None}
    batches = iter(reader.stream(f"{dataset}/train-*", **settings))
    next(batches)
    os.kill(a_child(), signal.SIGBUS)
    with pytest.raises(PixelWorkerError, match="SIGBUS"):
        for _ in range(1000):
            next(batches)


def a_child() -> int:
    """A process that this one started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return int(children.read_text().split()[-1])
