"""FFCV, on the very JPEGs that are stored, or raw pixels.

Its field encodes pixels to JPEG; the one here takes a JPEG as it is, so that all peers
decode the same bytes, and what it writes is read as FFCV's own. FFCV decodes whole
images with libjpeg's fast inverse DCT, and has no switch for that. It resizes with
OpenCV's `INTER_AREA`, which does not antialias where either side is enlarged.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from ffcv.fields import NDArrayField, RGBImageField
from ffcv.fields.decoders import (
    CenterCropRGBImageDecoder,
    NDArrayDecoder,
    RandomResizedCropRGBImageDecoder,
)
from ffcv.fields.rgb_image import IMAGE_MODES
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter

import reader
from reader.config.defaults import CROP_RATIO, CROP_SCALE
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.pixels import CORES, cast
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS, SIZE, STORED

_TOKENS = NDArrayField(np.dtype("int32"), (MAX_TOKENS,))


class StoredJpeg(RGBImageField):  # type: ignore[misc, unused-ignore]
    """Writes JPEGs as they are."""

    def encode(self, destination: Any, image: bytes, malloc: Any) -> None:
        height, width, *_ = simplejpeg.decode_jpeg_header(image)
        destination["mode"] = IMAGE_MODES["jpg"]
        destination["height"], destination["width"] = height, width
        destination["data_ptr"], storage = malloc(len(image))
        storage[:] = np.frombuffer(image, np.uint8)


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    if stored == "raw":
        image: Any = RGBImageField(write_mode="raw")
        rows: Any = reader.open(str(corpus.dataset("raw")), outputs=("image", "tokens"))
    else:
        image, rows = StoredJpeg(), [(row.jpeg, row.tokens) for row in corpus.rows()]
    fields = {"image": image, "tokens": _TOKENS}
    writer = DatasetWriter(str(folder / "data.beton"), fields, num_workers=1)
    writer.from_indexed_dataset(rows)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    for image, tokens in _loader(folder, task):
        yield cast(image, dtype), tokens, tokens != 0


@functools.cache
def _loader(folder: Path, task: str) -> Any:
    return Loader(
        str(folder / "data.beton"),
        batch_size=BATCH,
        num_workers=CORES,
        order=OrderOption.RANDOM,
        os_cache=True,
        custom_fields={"image": RGBImageField},
        pipelines={
            "image": [*_cut(task), ToTensor(), ToTorchImage()],
            "tokens": [NDArrayDecoder(), ToTensor()],
        },
    )


def _cut(task: str) -> list[Any]:
    size = (SIZE, SIZE)
    if task == "random_resized":
        crop = RandomResizedCropRGBImageDecoder(size, CROP_SCALE, CROP_RATIO)
        return [crop, RandomHorizontalFlip()]
    return [CenterCropRGBImageDecoder(size, ratio=SIZE / STORED)]
