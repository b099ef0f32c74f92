"""Photographs one by one as they are, with `tf.data`: the classic recipe.

Each is decoded whole, and brought to a shorter side of 256, in every epoch. Captions
were tokenised before, and are held in memory.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.peers.tutorial import center
from tests.benchmarks.reading.roster import BATCH, STORED

AUTOTUNE = tf.data.AUTOTUNE


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    np.save(folder / "paths.npy", np.array(corpus.photographs()))
    np.save(folder / "tokens.npy", np.stack([row.tokens for row in corpus.rows()]))


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    yield from _batches(folder)


@functools.cache
def _batches(folder: Path) -> Any:
    paths, tokens = (np.load(folder / name) for name in ("paths.npy", "tokens.npy"))
    data = tf.data.Dataset.from_tensor_slices((paths, tokens))
    data = data.shuffle(len(paths)).map(_example, num_parallel_calls=AUTOTUNE)
    return data.batch(BATCH, drop_remainder=True).prefetch(AUTOTUNE)


def _example(path: Any, tokens: Any) -> Any:
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scaled = tf.round(sides * (STORED / tf.reduce_min(sides)))
    image = tf.image.resize(image, tf.cast(scaled, tf.int32))
    return center(image) / 255.0, tokens, tokens != 0
