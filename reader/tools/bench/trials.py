"""Measures how fast images would be read if they were stored with other settings."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import simplejpeg

from reader.contract import schema
from reader.contract.record import frame_record, parse_example, serialize_example
from reader.contract.schema import needs_size
from reader.datasets.open_sources import open_one_record_source
from reader.datasets.record_source import RecordSource
from reader.pixels.codecs import Pixels, decoder
from reader.pixels.resample import resample
from reader.records.random_access import RecordFiles
from reader.tools.bench.stages import reading
from reader.tools.bench.timing import Read, measure

# Enough for a mean, and few enough to encode in a second.
_NUM_IMAGES = 128
_MIN_IMAGES = 16


class Storage(NamedTuple):
    """Storage settings of images.

    Attributes:
        shorter_side: Shorter side in pixels; smaller images are not enlarged. None to
            keep the size.
        quality: JPEG quality; None to keep the encoded bytes.
    """

    shorter_side: int | None = None
    quality: int | None = None


class Trial(NamedTuple):
    """The measured gain of other storage settings.

    Attributes:
        storage: Storage settings of the trial.
        speedup: Images per CPU-second, as a ratio (trial ÷ current settings).
        size: Bytes per image, as a ratio (trial ÷ current settings).
        num: Number of images in the trial.
    """

    storage: Storage
    speedup: float
    size: float
    num: int


def try_storages(
    pattern: str,
    storages: Sequence[Storage],
    settings: Mapping[str, Any],
    seconds: float,
) -> list[Trial]:
    """Stores some images of a dataset with each of the settings and times reading them.

    Images that do not decode are left out.

    Args:
        pattern: Dataset folder or glob of TFRecords.
        storages: Storage settings to try.
        settings: Arguments of `load`.
        seconds: Approximate time for all measurements together, in seconds.

    Raises:
        UsageError: `load` rejects an argument.
        DatasetError: `load` cannot read the dataset.
    """
    source = open_one_record_source(pattern, settings.get("split"), None)
    images = list(_images(source, time.perf_counter() + seconds / 3))
    if not images or not storages:
        return []
    batch_size = min(settings["batch_size"], len(images))
    settings = {**settings, "outputs": ("image",)}
    changed = {"split": None, "batch_size": batch_size}
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        variants: dict[str, Read] = {}
        sizes: dict[str, int] = {}
        for number, storage in enumerate([Storage(), *storages]):
            path = os.path.join(folder, f"{number}.tfrecord")
            sizes[str(number)] = _write(path, images, storage)
            variants[str(number)] = reading(path, {**settings, **changed})
        if needs_size(source.record_schema.image_format):
            # Only a dataset with a manifest can hold this format.
            variants["0"] = reading(pattern, settings)
        costs = measure(variants, seconds)
    return [
        Trial(
            storage,
            costs["0"].cpu_us / costs[str(number)].cpu_us,
            sizes[str(number)] / sizes["0"],
            len(images),
        )
        for number, storage in enumerate(storages, start=1)
    ]


class _Image(NamedTuple):
    encoded: bytes
    pixels: Pixels


def _images(source: RecordSource, end: float) -> Iterator[_Image]:
    """Yields images spread over all records, and stops early after the time `end`."""
    files, record_schema = RecordFiles(source), source.record_schema
    decode = decoder(record_schema.image_format)
    num = min(_NUM_IMAGES, source.num_examples)
    numbers = np.linspace(0, source.num_examples - 1, num).astype(int)
    # In random order, so that stopping early does not favor the first records.
    for place, number in enumerate(np.random.default_rng(0).permutation(numbers)):
        if place >= _MIN_IMAGES and time.perf_counter() > end:
            return
        example = parse_example(files.read(int(number)))
        encoded = example[record_schema.features["image"].key][0]
        sides = [0, 0]
        if needs_size(record_schema.image_format):
            sides = [
                example[record_schema.features[s].key][0] for s in ("height", "width")
            ]
        # `load` reports damaged images.
        with contextlib.suppress(ValueError):
            yield _Image(encoded, decode(encoded, *sides))


def _write(path: str, images: Sequence[_Image], storage: Storage) -> int:
    """Writes a TFRecord file; returns the total size of its images in bytes."""
    num_bytes = 0
    with open(path, "wb") as file:
        for image in images:
            pixels = _resized(image.pixels, storage.shorter_side)
            encoded = image.encoded
            if storage.quality is not None:
                encoded = simplejpeg.encode_jpeg(
                    np.ascontiguousarray(pixels), storage.quality, "RGB", "420"
                )
            num_bytes += len(encoded)
            height, width, _ = pixels.shape
            record = serialize_example(
                {
                    schema.IMAGE: ("bytes", [encoded]),
                    schema.HEIGHT: ("int64", [height]),
                    schema.WIDTH: ("int64", [width]),
                }
            )
            header, footer = frame_record(record)
            file.write(header + record + footer)
    return num_bytes


def _resized(pixels: Pixels, shorter_side: int | None) -> Pixels:
    height, width, _ = pixels.shape
    if shorter_side is None or min(height, width) <= shorter_side:
        return pixels
    scale = shorter_side / min(height, width)
    size = (round(height * scale), round(width * scale))
    resized = np.empty((*size, 3), np.uint8)
    resample(pixels, resized)
    return resized
