"""Crops and resizes raw pixels from the bytes of a window, with a single copy."""

import math
import weakref
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from reader.config.read_config import ReadConfig
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_schema import RecordSchema
from reader.decode.crops import regions_of, resample
from reader.records.memory import Arrays, take
from reader.records.python_calls import call_python
from reader.records.window_reads import Fetched, TakeImages
from reader.storage.files import is_remote

# Number of pixel rows that one call copies.
_ROWS = 8192


def can_be_held(
    index: RecordIndex, record_schema: RecordSchema, config: ReadConfig
) -> bool:
    """Returns whether pixels can be extracted from records while they are read.

    Pixels are extracted one window at a time, so the images of a window must not take
    more memory than its records.

    Args:
        index: Index of the records.
        record_schema: Schema of the records.
        config: Read configuration.
    """
    return (
        record_schema.image_format == "raw"
        and "image" in config.names
        and _is_no_larger(config.images.target, record_schema)
        and index.has_lengths
        and not any(is_remote(shard.path) for shard in index.shards)
    )


def _is_no_larger(target: tuple[int, int], record_schema: RecordSchema) -> bool:
    height, width = record_schema.height, record_schema.width
    if height is None or width is None:
        return False
    return math.prod(target) <= height.min * width.min


def image_taker(
    record_schema: RecordSchema, config: ReadConfig, arrays: weakref.ref[Arrays]
) -> TakeImages:
    """Returns a function that makes images from the bytes of a window.

    Args:
        record_schema: Schema of the records.
        config: Read configuration, with crop, flip and target size.
        arrays: Reusable memory for the images.
    """
    height, width = (record_schema.features[role].key for role in ("height", "width"))
    features = {key: tf.io.FixedLenFeature((), tf.int64) for key in (height, width)}
    cut = _Cut(arrays)

    def take_images(
        fetched: Fetched, order: tf.Tensor, records: tf.Tensor, draws: tf.Tensor
    ) -> tf.Tensor:
        parsed = tf.io.parse_example(records, features)
        sizes = tf.stack([parsed[height], parsed[width]], axis=1)
        begins, lengths = (tf.gather(x, order) for x in (fetched.begins, fetched.sizes))
        matches = tf.reduce_all(3 * tf.reduce_prod(sizes, axis=1) == lengths)
        message = "pixels are not height × width × 3 bytes"
        check = tf.raw_ops.Assert(condition=matches, data=[message, sizes, lengths])
        with tf.control_dependencies([check]):
            sizes = tf.cast(sizes, tf.int32)
        columns = config.draws.columns
        draws_by_use = {use: draws[:, places] for use, places in columns.items()}
        return _take(fetched.held, begins, sizes, draws_by_use, config, cut)

    return take_images


def _take(
    buffer: tf.Tensor,
    begins: tf.Tensor,
    sizes: tf.Tensor,
    draws: dict[str, tf.Tensor],
    config: ReadConfig,
    cut: "_Cut",
) -> tf.Tensor:
    target = config.images.target
    regions = regions_of(sizes, draws.get("crop"), config.images)
    mirror = tf.zeros_like(begins, tf.bool)
    if config.images.flip:
        mirror = draws["flip"][:, 0] < 0.5

    def copy() -> tf.Tensor:
        inputs = [buffer, begins, sizes, regions, mirror]
        return call_python(cut, inputs, tf.uint8, stateful=False)

    def resize() -> tf.Tensor:
        return _resize(buffer, begins, sizes, regions, mirror, config)

    images = tf.cond(tf.reduce_all(regions[:, 2:] == target), copy, resize)
    return tf.ensure_shape(images, (None, *target, 3))


class _Cut:
    """Copies regions that already have the target size."""

    def __init__(self, arrays: weakref.ref[Arrays]) -> None:
        self._arrays = arrays

    def __call__(
        self,
        buffer: NDArray[np.uint8],
        begins: NDArray[np.int64],
        sizes: NDArray[np.int32],
        regions: NDArray[np.int32],
        mirror: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        height, width = regions[0, 2:].tolist()
        top, left = (regions[:, side, np.newaxis].astype(np.int64) for side in (0, 1))
        widths = sizes[:, 1:].astype(np.int64)
        places = begins[:, np.newaxis] + 3 * ((top + np.arange(height)) * widths + left)
        row = 3 * width
        shape = (len(begins), height, width, 3)
        images = take(self._arrays, math.prod(shape)).reshape(shape)
        to, rows = images.reshape(-1, row).view(f"V{row}")[:, 0], _rows(buffer, row)
        # One call copies rows of several images: each call releases the GIL, and a busy
        # consumer may hold it for milliseconds.
        places = places.ravel()
        for first in range(0, len(places), _ROWS):
            to[first : first + _ROWS] = rows[places[first : first + _ROWS]]
        if mirror.any():
            images[mirror] = images[mirror][:, :, ::-1]
        return images


def _rows(buffer: NDArray[np.uint8], length: int) -> NDArray[np.void]:
    """Returns void[k]: a view of `length` bytes at every byte offset of `buffer`."""
    count = len(buffer) - length + 1
    return np.ndarray((count,), f"V{length}", buffer.data, strides=(1,))


def _resize(
    buffer: tf.Tensor,
    begins: tf.Tensor,
    sizes: tf.Tensor,
    regions: tf.Tensor,
    mirror: tf.Tensor,
    config: ReadConfig,
) -> tf.Tensor:
    target = config.images.target

    def make(row: tuple[Any, ...]) -> tf.Tensor:
        begin, size, region, flipped = row
        length = tf.cast(3 * size[0] * size[1], tf.int64)
        pixels = tf.reshape(buffer[begin : begin + length], [size[0], size[1], 3])
        top, left, height, width = tf.unstack(region)
        cut = pixels[top : top + height, left : left + width]
        image = resample(cut, target)
        return tf.cond(flipped, lambda: tf.reverse(image, [1]), lambda: image)

    return tf.map_fn(
        make,
        (begins, sizes, regions, mirror),
        fn_output_signature=tf.TensorSpec((*target, 3), tf.uint8),
        parallel_iterations=config.resources.threads,
    )
