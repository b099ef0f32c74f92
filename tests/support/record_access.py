"""Opens datasets for random access, and reads their records with TensorFlow only."""

import io
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

import reader
from reader.map_dataset.map_dataset import MapDataset

NUM_TRAIN, NUM_MANY = 48, 509
FRAMING = 16  # Bytes of TFRecord framing per record.


def open_train(folder: Path, *outputs: str, **settings: Any) -> MapDataset:
    settings = {"outputs": outputs, **settings} if outputs else settings
    return reader.open(f"{folder}/train-*.tfrecord", **settings)


def stored(folder: Path, glob: str = "train-*.tfrecord") -> list[Any]:
    """Returns the features of all records as written, with TensorFlow only."""
    paths = sorted(map(str, folder.glob(glob)))
    records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    return [tf.train.Example.FromString(data).features.feature for data in records]


def texts(features: Any, name: str) -> list[str]:
    return [value.decode() for value in features[name].bytes_list.value]


def keys_of(folder: Path, glob: str = "train-*.tfrecord") -> list[str]:
    return [texts(f, "image/source_id")[0] for f in stored(folder, glob)]


def by_pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def write(path: Path, rows: Iterable[dict[str, Any]], compression: str = "") -> Path:
    """Writes foreign TFRecords."""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                feature = example.features.feature[name]
                kind = {bytes: feature.bytes_list, int: feature.int64_list}
                kind[type(values[0])].value.extend(values)
            writer.write(example.SerializeToString())
    return path


def encoded(pixels: np.ndarray, form: str, mode: str = "RGB", **how: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **how)
    return file.getvalue()


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def run_python(code: str, *args: object) -> str:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
