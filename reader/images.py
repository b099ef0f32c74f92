"""Stored images → pixels of the size asked for: crop, decode, resample."""

from collections.abc import Callable

import tensorflow as tf

from reader.config import ReadConfig

# The exact inverse transform; TensorFlow's own choice is a faster, coarser one.
_DCT_METHOD = "INTEGER_ACCURATE"

DecodeImage = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def make_decoder(config: ReadConfig) -> DecodeImage:
    """Returns a function (encoded, height, width) → `uint8[height, width, 3]`.

    A region with the aspect ratio of `image_size` is cut while decoding, and resampled
    (bilinear, antialiased) unless it has that size already.
    """
    size = _target(config)

    def decode(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        if config.crop == "none":
            pixels = tf.image.decode_jpeg(encoded, channels=3, dct_method=_DCT_METHOD)
        else:
            region = center_region(height, width, config)
            pixels = tf.image.decode_and_crop_jpeg(
                encoded, region, channels=3, dct_method=_DCT_METHOD
            )
        return _resample(pixels, *size)

    return decode


def center_region(height: tf.Tensor, width: tf.Tensor, config: ReadConfig) -> tf.Tensor:
    """Returns `int32[4]`: top, left, height and width of the region to cut.

    It has the aspect ratio of `image_size`, is `crop_fraction` of the largest that
    fits, and lies in the middle (half a pixel up and left where that is uneven).
    """
    size = tf.cast(tf.stack([height, width]), tf.float64)
    target = tf.constant(_target(config), tf.float64)
    largest = target * tf.reduce_min(size / target)
    region = tf.maximum(tf.cast(tf.round(largest * config.crop_fraction), tf.int32), 1)
    corner = (tf.cast(size, tf.int32) - region) // 2
    return tf.concat([corner, region], axis=0)


def _target(config: ReadConfig) -> tuple[int, int]:
    if config.image_size is None:
        raise ValueError("image_size must be known before images are decoded")
    return config.image_size


def _resample(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    def resampled() -> tf.Tensor:
        resized = tf.image.resize(pixels, (height, width), antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)

    same = tf.reduce_all(tf.equal(tf.shape(pixels)[:2], (height, width)))
    image = tf.cond(same, lambda: pixels, resampled)
    image.set_shape((height, width, 3))
    return image
