"""Loads batches of a dataset, and reads the same records without the loader."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

OUTPUTS = ("image", "tokens", "mask", "length", "key", "caption", "height", "width")
NUM_TRAIN, NUM_VALIDATION = 48, 12
PAD, START, END = 0, 2, 3

# Unusual image sizes: (width, height).
SIZES = [(1, 1), (2, 9), (40, 3), (64, 64), (65, 33), (50, 80), (300, 260), (17, 400)]


def load(folder: Path, glob: str = "train-*.tfrecord", **settings) -> tf.data.Dataset:
    settings = {"batch_size": 8, "image_size": 16, **settings}
    return reader.load(f"{folder}/{glob}", **settings)


def keys(batches: tf.data.Dataset) -> list[bytes]:
    """Returns the keys of one epoch; `outputs` must be `("key",)`."""
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def load_keys(folder: Path, glob: str = "train-*.tfrecord", **settings) -> list[bytes]:
    return keys(load(folder, glob, outputs=("key",), **settings))


def written(folder: Path, split: str = "train") -> Iterator[dict[str, list]]:
    """Yields the parsed records of a split, in written order."""
    for shard in sorted(folder.glob(f"{split}-*.tfrecord")):
        for record in read_shard(str(shard)):
            yield parse_example(record.data)


def written_keys(folder: Path, split: str = "train") -> list[bytes]:
    return [example["image/source_id"][0] for example in written(folder, split)]


def first_captions(folder: Path, split: str = "train") -> list[list[int]]:
    """Returns the token ids of each record's first caption, in written order."""
    return [
        example["caption/ids"][: example["caption/lengths"][0]]
        for example in written(folder, split)
    ]


def pictures(folder: Path) -> list[np.ndarray]:
    """Returns the stored pixels of all images, in written order."""
    jpegs = [example["image/encoded"][0] for example in written(folder)]
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]
