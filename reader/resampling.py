"""Pixels → pixels of another size, with antialiasing."""

import tensorflow as tf


def resample(pixels: tf.Tensor, target: tuple[int, int]) -> tf.Tensor:
    """Returns images in another size: bilinear, antialiased; as they are if they fit.

    Args:
        pixels: uint8[height, width, 3], or a batch of these.
        target: (height, width).
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
    """Returns a part of an image in another size, where both may be fractions.

    For images that were shrunk while they were decoded. Mitchell and Netravali's kernel
    (Reconstruction Filters in Computer Graphics, 1988) after that is closest to a
    triangle without it: docs/performance.md#scaled-decoding.

    Args:
        pixels: uint8[height, width, 3].
        begin: float32[2]: top and left of the part, in pixels.
        size: float32[2]: its height and width.
        target: (height, width).
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
    """Returns uint8: the nearest, of values that may lie outside."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 255)), tf.uint8)
