"""NVIDIA DALI on the CPU, on the same TFRecords and their indexes.

Batches are views of DALI's own memory, which is the cheapest way to have them: an
iterator of its plugins would copy them once more. Tokens come as they are stored,
without start and end.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nvidia.dali import fn, tfrecord
from nvidia.dali.pipeline import pipeline_def
from nvidia.dali.types import DALIDataType, DALIInterpType

from reader.config.defaults import CROP_RATIO, CROP_SCALE
from reader.config.image_config import RESIZED_TRIES
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.pixels import CORES
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS, SIZE

_FEATURES = {
    "image/encoded": tfrecord.FixedLenFeature([], tfrecord.string, ""),
    "caption/ids": tfrecord.VarLenFeature(tfrecord.int64, 0),
}


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    corpus.link(folder, stored)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    pipeline = _pipeline(folder, task, dtype)
    for _ in range(pipeline.epoch_size("records") // BATCH):
        image, tokens = (np.asarray(out.as_tensor()) for out in pipeline.run())
        yield image, tokens, tokens != 0


@functools.cache
def _pipeline(folder: Path, task: str, dtype: str) -> Any:
    shards = sorted((folder / "dataset").glob("train-*.tfrecord"))
    indexes = [shard.parent / "index" / f"{shard.name}.idx" for shard in shards]
    pipeline: Any = _graph(
        [*map(str, shards)],
        [*map(str, indexes)],
        task,
        dtype,
        batch_size=BATCH,
        num_threads=CORES,
        device_id=None,
    )
    pipeline.build()
    return pipeline


@pipeline_def
def _graph(shards: list[str], indexes: list[str], task: str, dtype: str) -> Any:
    features: Any = fn.readers.tfrecord(
        path=shards,
        index_path=indexes,
        features=_FEATURES,
        random_shuffle=True,
        name="records",
    )
    cut = _random_resized if task == "random_resized" else _center
    image, mirror = cut(features["image/encoded"])
    if dtype == "float32":
        image = fn.crop_mirror_normalize(
            image,
            mirror=mirror,
            dtype=DALIDataType.FLOAT,
            mean=[0.0],
            std=[255.0],
            output_layout="HWC",
        )
    elif task == "random_resized":
        image = fn.flip(image, horizontal=mirror)
    tokens = fn.slice(
        fn.cast(features["caption/ids"], dtype=DALIDataType.INT32),
        start=[0],
        shape=[MAX_TOKENS],
        axes=[0],
        out_of_bounds_policy="pad",
    )
    return image, tokens


def _center(encoded: Any) -> tuple[Any, Any]:
    crop = (SIZE, SIZE)
    return fn.decoders.image_crop(encoded, device="cpu", crop=crop), 0


def _random_resized(encoded: Any) -> tuple[Any, Any]:
    """Decodes no more than the region, as DALI's examples do."""
    region = fn.decoders.image_random_crop(
        encoded,
        device="cpu",
        random_area=CROP_SCALE,
        random_aspect_ratio=CROP_RATIO,
        num_attempts=RESIZED_TRIES,
    )
    image = fn.resize(
        region,
        size=(SIZE, SIZE),
        interp_type=DALIInterpType.INTERP_LINEAR,
        antialias=True,
    )
    return image, fn.random.coin_flip()
