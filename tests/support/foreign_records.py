"""Writes foreign TFRecords (from other tools), and reads them without the loader."""

import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader

KEY, IMAGE, TEXT = "image/source_id", "image/encoded", "image/caption"


def feature(value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if not values or isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def example(values: dict[str, Any]) -> bytes:
    features = {name: feature(value) for name, value in values.items()}
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString()


def write(path: Path, rows: Iterable[dict[str, Any]], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            writer.write(example(row))
    return path


def picture(number: int, form: str = "PNG", size: tuple[int, int] = (20, 14)) -> bytes:
    """Returns an encoded image with smooth colors, which JPEG hardly changes."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 9, y * 12, np.full_like(x, number * 7 % 256)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, form, **_QUALITY.get(form, {}))
    return file.getvalue()


_QUALITY = {"JPEG": {"quality": 95}}


def key_of(number: int) -> bytes:
    return b"k%03d" % number


def row(number: int, /, **more: Any) -> dict[str, Any]:
    """Returns a record with a key, an image and a caption, but without ids."""
    text = f"caption {number}".encode()
    return {KEY: key_of(number), IMAGE: picture(number), TEXT: text, **more}


def small(number: int) -> dict[str, Any]:
    return {KEY: key_of(number), TEXT: b"t%d" % number}


def load(pattern: Any, **settings: Any) -> Any:
    settings = {"batch_size": 1, "outputs": ("key",), **settings}
    return reader.load(pattern, **settings)


def keys(batches: Any) -> list[bytes]:
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def decoded(encoded: bytes) -> np.ndarray:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()


def decoded_by_pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def cut_and_resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the center crop with the aspect ratio of `size`: 7/8 of the largest."""
    height, width, _ = pixels.shape
    scale = min(height / size[0], width / size[1])
    tall, wide = (max(1, round(side * scale * 0.875)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    region = pixels[top : top + tall, left : left + wide]
    if (tall, wide) != size:
        region = tf.image.resize(region, size, antialias=True).numpy()
    return np.clip(region, 0, 255) / 255


def first_values(path: Path, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Returns the first value of some features of each record, with protobuf only."""
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        kinds = [features[name].WhichOneof("kind") for name in names]
        values = zip(names, kinds, strict=True)
        found.append(tuple(getattr(features[n], kind).value[0] for n, kind in values))
    return found


def begins(path: Path) -> list[int]:
    """Returns the byte offsets of the records, and the end of the last one."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        length = int.from_bytes(data[found[-1] : found[-1] + 8], "little")
        found.append(found[-1] + 16 + length)
    return found


def reader_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("reader", logging.WARNING)
    ]
