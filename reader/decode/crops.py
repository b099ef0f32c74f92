"""Computes crop regions for batches of image sizes, and resamples images.

A region is (top, left, height, width) in pixels.
"""

import math

import tensorflow as tf

from reader.config.image_config import RESIZED_TRIES, ImageConfig


def regions_of(
    sizes: tf.Tensor, draws: tf.Tensor | None, config: ImageConfig
) -> tf.Tensor:
    """Returns the crop region of each image.

    Args:
        sizes: int32[n, 2]: Height and width of each image, in pixels.
        draws: float64[n, k]: Random numbers in [0, 1), where k is
            `config.num_draws["crop"]`; None if k is 0.
        config: Image configuration, with the crop and the target size.

    Returns:
        `int32[n, 4]`: top, left, height and width of each region, in pixels.
    """
    if config.crop == "none":
        return tf.concat([tf.zeros_like(sizes), sizes], axis=1)
    if config.crop == "random_resized":
        return _random_resized(sizes, draws, config)
    regions = _largest(sizes, config)
    room = sizes - regions
    if config.crop == "center":
        # An odd margin puts the region half a pixel above and left of the center.
        return tf.concat([room // 2, regions], axis=1)
    return tf.concat([_random_corner(room, draws), regions], axis=1)


def _largest(sizes: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Returns `int32[n, 2]`: a fraction of the largest region of the target's aspect.

    The fraction applies to each side.
    """
    exact, target = tf.cast(sizes, tf.float64), tf.constant(config.target, tf.float64)
    largest = target * tf.reduce_min(exact / target, axis=1, keepdims=True)
    return tf.maximum(tf.cast(tf.round(largest * config.fraction), tf.int32), 1)


def _random_corner(room: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Returns `int32[n, 2]`: top left corners, uniform over all that fit."""
    return tf.cast(tf.floor(draws * tf.cast(room + 1, tf.float64)), tf.int32)


def _random_resized(
    sizes: tf.Tensor, draws: tf.Tensor, config: ImageConfig
) -> tf.Tensor:
    """Returns `int32[n, 4]`: regions of random area, aspect ratio and position.

    Follows torchvision's RandomResizedCrop (Szegedy et al., Going Deeper with
    Convolutions, 2014). The fraction of the image's area is uniform in `scale`, and the
    logarithm of the aspect ratio (width ÷ height) is uniform over `ratio`. The first of
    ten attempts that fits in the image is used. If no attempt fits, the region is a
    center crop of the nearest permitted aspect ratio.
    """
    exact = tf.cast(sizes, tf.float64)
    area = tf.reduce_prod(exact, axis=1, keepdims=True)
    tries = tf.reshape(draws[:, 2:], [-1, RESIZED_TRIES, 2])
    share = _between(tries[:, :, 0], *config.scale)
    low, high = map(math.log, config.ratio)
    ratio = tf.exp(_between(tries[:, :, 1], low, high))
    drawn = tf.stack([area * share / ratio, area * share * ratio], axis=2)
    drawn = tf.cast(tf.round(tf.sqrt(drawn)), tf.int32)
    fits = tf.reduce_all((drawn > 0) & (drawn <= sizes[:, tf.newaxis]), axis=2)
    first = tf.argmax(fits, axis=1, output_type=tf.int32)
    taken = tf.gather(drawn, first, batch_dims=1)
    found = tf.reduce_any(fits, axis=1, keepdims=True)
    regions = tf.where(found, taken, _nearest_shape(exact, config.ratio))
    room = sizes - regions
    corner = tf.where(found, _random_corner(room, draws[:, :2]), room // 2)
    return tf.concat([corner, regions], axis=1)


def _between(draws: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    return low + draws * (high - low)


def _nearest_shape(exact: tf.Tensor, ratio: tuple[float, float]) -> tf.Tensor:
    """Returns `int32[n, 2]`: the largest regions with an aspect ratio in `ratio`."""
    height, width = tf.unstack(exact, axis=1)
    shape = tf.clip_by_value(width / height, *ratio)
    sides = tf.stack(
        [tf.minimum(height, width / shape), tf.minimum(width, height * shape)], axis=1
    )
    return tf.maximum(tf.cast(tf.round(sides), tf.int32), 1)


def resample(pixels: tf.Tensor, target: tuple[int, int]) -> tf.Tensor:
    """Resizes images with an antialiased bilinear filter.

    Images that already have the target size are returned unchanged.

    Args:
        pixels: `uint8[height, width, 3]`, or a batch of such images.
        target: (height, width) in pixels.
    """

    def resampled() -> tf.Tensor:
        return to_bytes(tf.image.resize(pixels, target, antialias=True))

    shape = pixels.shape[-3:-1]
    if shape.is_fully_defined():
        return pixels if tuple(shape) == target else resampled()
    same = tf.reduce_all(tf.equal(tf.shape(pixels)[-3:-1], target))
    return tf.cond(same, lambda: pixels, resampled)


def resample_part(
    pixels: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, target: tuple[int, int]
) -> tf.Tensor:
    """Resizes a region of an image whose corner and size may be fractional pixels.

    Used for JPEGs that libjpeg decoded at a reduced size. After that reduction, the
    kernel of Mitchell and Netravali (Reconstruction Filters in Computer Graphics, 1988)
    comes closest to a triangle filter on the full image:
    docs/performance.md#scaled-decoding.

    Args:
        pixels: `uint8[height, width, 3]`.
        begin: float32[2]: Top and left of the region, in pixels.
        size: float32[2]: Height and width of the region, in pixels.
        target: (height, width) in pixels.
    """
    scale = tf.constant(target, tf.float32) / size
    images = tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=target,
        scale=scale,
        translation=-begin * scale,
        kernel_type="mitchellcubic",
        antialias=True,
    )
    return to_bytes(images[0])


def to_bytes(values: tf.Tensor) -> tf.Tensor:
    """Rounds values to the nearest uint8; values outside 0 to 255 are clipped."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 255)), tf.uint8)
