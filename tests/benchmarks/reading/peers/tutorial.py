"""The pipeline of TensorFlow's guides, on the same TFRecords.

As there, `decode_jpeg` takes the fast inverse DCT, which is its default.

https://www.tensorflow.org/guide/data_performance
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS, SIZE

AUTOTUNE = tf.data.AUTOTUNE

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "caption/ids": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    corpus.link(folder)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    yield from _batches(folder)


@functools.cache
def _batches(folder: Path) -> Any:
    pattern = str(folder / "dataset" / "train-*.tfrecord")
    data = tf.data.Dataset.list_files(pattern, shuffle=True)
    data = data.interleave(tf.data.TFRecordDataset, num_parallel_calls=AUTOTUNE)
    data = data.shuffle(1000).map(_example, num_parallel_calls=AUTOTUNE)
    return data.batch(BATCH, drop_remainder=True).prefetch(AUTOTUNE)


def _example(record: Any) -> Any:
    features = tf.io.parse_single_example(record, _FEATURES)
    image = center(tf.io.decode_jpeg(features["image/encoded"], channels=3))
    ids = tf.cast(features["caption/ids"][:MAX_TOKENS], tf.int32)
    tokens = tf.pad(ids, [[0, MAX_TOKENS - tf.shape(ids)[0]]])
    tokens = tf.ensure_shape(tokens, [MAX_TOKENS])
    return tf.image.convert_image_dtype(image, tf.float32), tokens, tokens != 0


def center(image: Any) -> Any:
    """Returns the middle [224, 224, 3] of an image."""
    shape = tf.shape(image)
    top, left = (shape[0] - SIZE) // 2, (shape[1] - SIZE) // 2
    return tf.image.crop_to_bounding_box(image, top, left, SIZE, SIZE)
