"""The limit: TensorFlow's decoder alone, in eager loops over bytes in memory.

A thread for each core. Nothing is read, parsed, shuffled or put together: a batch is a
list of 64 tensors, without tokens.
"""

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.benchmarks.reading.corpus import Corpus, read_rows
from tests.benchmarks.reading.pixels import CORES
from tests.benchmarks.reading.roster import BATCH, SIZE


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    corpus.link(folder)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    stored = _stored(folder)
    batches = [stored[at : at + BATCH] for at in range(0, len(stored), BATCH)]
    whole = [batch for batch in batches if len(batch) == BATCH]
    with ThreadPoolExecutor(CORES) as pool:
        for images in pool.map(_decode_all, whole):
            yield (images,)


def _decode_all(batch: list[tuple[bytes, list[int]]]) -> list[Any]:
    return list(itertools.starmap(_decode, batch))


def _decode(jpeg: bytes, region: list[int]) -> Any:
    return tf.image.decode_and_crop_jpeg(
        jpeg, region, channels=3, dct_method="INTEGER_ACCURATE"
    )


@functools.cache
def _stored(folder: Path) -> list[tuple[bytes, list[int]]]:
    jpegs = [row.jpeg for row in read_rows(folder / "dataset")]
    return [(jpeg, _middle(jpeg)) for jpeg in jpegs]


def _middle(jpeg: bytes) -> list[int]:
    height, width, _ = tf.image.extract_jpeg_shape(jpeg).numpy().tolist()
    return [(height - SIZE) // 2, (width - SIZE) // 2, SIZE, SIZE]
