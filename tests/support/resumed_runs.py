"""Helpers of tests."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

N, EPOCHS, BATCH = 700, 3, 24


STEPS = N // BATCH  # 29, and 4 examples are left over.


NAMES = ("image", "tokens", "mask", "length", "key", "caption")


SHUFFLE_BYTES = 450_000  # Two records of each stream: two windows in an epoch.


SEED = 3


Rows = list[tuple[np.ndarray, ...]]


def make_pictures(folder: Path, num: int) -> Path:
    """Noise of 8 × 8 pixels, with captions of 1 to 39 words."""
    rng = np.random.default_rng(0)
    for number in range(num):
        noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03}.png")
        words = " ".join(f"w{word}" for word in rng.integers(0, 9, rng.integers(1, 40)))
        (folder / f"{number:03}.txt").write_text(words)
    return folder


def load(folder: Path, **more) -> tf.data.Dataset:
    usual = {
        "batch_size": BATCH,
        "image_size": 8,
        "seed": SEED,
        "shuffle_bytes": SHUFFLE_BYTES,
        "outputs": ("key",),
    }
    return reader.load(str(folder), **{**usual, **more})


def keys(batches: tf.data.Dataset) -> list[list[bytes]]:
    return [batch[0].tolist() for batch in batches.as_numpy_iterator()]


def first_keys(batches: tf.data.Dataset, num: int) -> list[list[bytes]]:
    taken = itertools.islice(batches.as_numpy_iterator(), num)
    return [batch[0].tolist() for batch in taken]


def written_keys(folder: Path) -> list[bytes]:
    return [
        parse_example(record.data)["image/source_id"][0]
        for shard in sorted(folder.glob("train-*.tfrecord"))
        for record in read_shard(str(shard))
    ]


def expected(
    line: list,
    begin: int,
    batch_size: int = BATCH,
    host: tuple[int, int] = (0, 1),
    epochs: int = EPOCHS,
) -> Iterator[list]:
    """What a host finds in its batches from an example on, as the issue tells it."""
    epoch, start = divmod(begin, N)
    while epoch < epochs:
        while start + batch_size <= N:
            positions = range(start, start + batch_size)
            yield [line[epoch * N + p] for p in positions if p % host[1] == host[0]]
            start += batch_size
        epoch, start = epoch + 1, 0


def expected_keys(line: Rows, begin: int, *args, **more) -> list[list[bytes]]:
    return list(
        expected([row[NAMES.index("key")] for row in line], begin, *args, **more)
    )


def example_at(step: int, batch_size: int = BATCH) -> int:
    """Where a step of a run of whole epochs begins."""
    epoch, within = divmod(step, N // batch_size)
    return epoch * N + within * batch_size


def assert_equal_tensors(batches: tf.data.Dataset, rows: list[list]) -> None:
    loaded = list(batches.as_numpy_iterator())
    assert len(loaded) == len(rows) > 0
    for batch, examples in zip(loaded, rows, strict=True):
        for value, wanted in zip(batch, zip(*examples, strict=True), strict=True):
            if value.dtype == object:
                assert value.tolist() == list(wanted)
            else:
                stacked = np.stack(wanted)
                assert (value.dtype, value.shape) == (stacked.dtype, stacked.shape)
                assert value.tobytes() == stacked.tobytes()
