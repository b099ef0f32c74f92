"""Stored images → pixels of the size asked for: crop, decode, resample."""

from collections.abc import Callable

import tensorflow as tf

from reader.config import ReadConfig
from reader.contract.errors import DatasetError

# The exact inverse transform; TensorFlow's own choice is a faster, coarser one.
_DCT_METHOD = "INTEGER_ACCURATE"

DecodeImage = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def make_decoder(config: ReadConfig, image_format: str | None) -> DecodeImage:
    """Returns a function (encoded, height, width) → `uint8[height, width, 3]`.

    Without a format each image says itself what it is, and its size is not asked for.

    A region with the aspect ratio of `image_size` is cut (of JPEG, while decoding), and
    resampled (bilinear, antialiased) unless it has that size already.

    Raises:
        DatasetError: Images are stored in a format that this version does not know.
    """
    size = _target(config)
    if image_format is None:
        return lambda encoded, height, width: _decode_any(encoded, config)
    decode_region = _DECODERS.get(image_format)
    if decode_region is None:
        raise DatasetError(
            f'images are stored as "{image_format}", which this reader does not know: '
            "upgrade diptych"
        )

    def decode(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        whole = config.crop == "none"
        region = None if whole else center_region(height, width, config)
        return _resample(decode_region(encoded, height, width, region), *size)

    return decode


def _decode_any(encoded: tf.Tensor, config: ReadConfig) -> tf.Tensor:
    """Decodes what others stored: JPEG, PNG, GIF or BMP, of whatever size."""
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _decode_jpeg(encoded, None, None, None),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    if config.crop != "none":
        height, width = tf.unstack(tf.shape(pixels)[:2])
        pixels = _cut(pixels, center_region(height, width, config))
    return _resample(pixels, *_target(config))


def _decode_jpeg(
    encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor, region: tf.Tensor
) -> tf.Tensor:
    if region is None:
        return tf.image.decode_jpeg(encoded, channels=3, dct_method=_DCT_METHOD)
    return tf.image.decode_and_crop_jpeg(
        encoded, region, channels=3, dct_method=_DCT_METHOD
    )


def _decode_png(
    encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor, region: tf.Tensor
) -> tf.Tensor:
    return _cut(tf.image.decode_png(encoded, channels=3), region)


def _decode_raw(
    encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor, region: tf.Tensor
) -> tf.Tensor:
    pixels = tf.io.decode_raw(encoded, tf.uint8)
    return _cut(tf.reshape(pixels, tf.stack([height, width, 3])), region)


def _cut(pixels: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    if region is None:
        return pixels
    top, left, height, width = tf.unstack(region)
    return pixels[top : top + height, left : left + width]


# By the formats of `ImageSpec`: (encoded, height, width, region) → its pixels. A region
# is `int32[4]`: top, left, height, width; None is the whole image.
_DECODERS = {"jpeg": _decode_jpeg, "png": _decode_png, "raw": _decode_raw}


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
