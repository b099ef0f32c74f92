"""Stored images → pixels of the size asked for: region, decode, resample, mirror.

A region is `int32[4]`: top, left, height and width, in pixels.
"""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from reader.config.image_config import ImageConfig
from reader.datasets.record_schema import RecordSchema
from reader.decode.crops import regions_of, resample, resample_part

# The exact inverse transform; TensorFlow's own choice is a faster, coarser one.
_DCT_METHOD = "INTEGER_ACCURATE"
# By how much libjpeg can shrink an image while it decodes it. What is left must be half
# as large again as the target: libjpeg's own filter is sharper than the one that
# follows, which shows where that has little left to do:
# docs/performance.md#scaled-decoding.
_RATIOS = (1, 2, 4, 8)

# (encoded string[n], sizes int32[n, 2], draws float64[n, k] by use)
# → uint8[n, height, width, 3]. Where each image says its own size, it is not asked for.
DecodeImages = Callable[[tf.Tensor, tf.Tensor | None, dict[str, tf.Tensor]], tf.Tensor]


def make_decoder(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    """Returns a function from stored images to pixels.

    A region is cut (of JPEG, while decoding), and resampled (bilinear, antialiased)
    unless it has the right size already. Of a JPEG that is three times as large, or
    more, a smaller version is decoded.
    """
    return _MAKERS[record_schema.image_format](config, record_schema)


# (encoded string[], size int32[2], region int32[4]) → uint8[height, width, 3]
_DecodeImage = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def _of_jpeg(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    ratios = _useful_ratios(config, record_schema)

    def decode(encoded: tf.Tensor, size: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
        return _decode_jpeg(encoded, size, region, config.target, ratios)

    def decode_all(
        encoded: tf.Tensor, sizes: tf.Tensor | None, draws: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        regions = regions_of(sizes, draws.get("crop"), config)
        # Asked of all at once: asking each costs as much as reading its record.
        return tf.cond(
            tf.reduce_all(regions[:, 2:] == config.target),
            lambda: _map(_cut_jpeg, (encoded, regions), draws, config),
            lambda: _map(decode, (encoded, sizes, regions), draws, config),
        )

    return decode_all


def _of_png(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    def decode(encoded: tf.Tensor, size: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.decode_png(encoded, channels=3)
        return resample(_cut(pixels, region), config.target)

    return _by_regions(config, decode)


def _of_raw(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    def decode(encoded: tf.Tensor, size: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(tf.io.decode_raw(encoded, tf.uint8), [size[0], size[1], 3])
        return resample(_cut(pixels, region), config.target)

    size = record_schema.stored_size
    if size is None or config.flip or config.crop not in ("center", "none"):
        return _by_regions(config, decode)

    (region,) = regions_of(tf.constant([size]), None, config).numpy().tolist()

    def decode_at_once(
        encoded: tf.Tensor, sizes: tf.Tensor | None, draws: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        pixels = tf.reshape(tf.io.decode_raw(encoded, tf.uint8), [-1, *size, 3])
        return resample(_cut(pixels, region), config.target)

    return decode_at_once


def _of_any(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    """Decodes what others stored: JPEG, PNG, GIF or BMP, of whatever size."""

    def region_of(size: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return regions_of(size[tf.newaxis], draws[tf.newaxis], config)[0]

    def decode_jpeg(encoded: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        region = region_of(size, draws)
        return _decode_jpeg(encoded, size, region, config.target, _RATIOS)

    def decode_other(encoded: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        pixels = tf.ensure_shape(pixels, (None, None, 3))
        region = region_of(tf.shape(pixels)[:2], draws)
        return resample(_cut(pixels, region), config.target)

    def decode_image(encoded: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: decode_jpeg(encoded, draws),
            lambda: decode_other(encoded, draws),
        )

    def decode(
        encoded: tf.Tensor, sizes: tf.Tensor | None, draws: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        none = tf.zeros([tf.size(encoded), 0], tf.float64)
        crop = draws.get("crop", none)
        return _map(decode_image, (encoded, crop), draws, config)

    return decode


def _by_regions(config: ImageConfig, decode_image: _DecodeImage) -> DecodeImages:
    """Returns a function that finds all regions at once, then decodes one by one."""

    def decode(
        encoded: tf.Tensor, sizes: tf.Tensor | None, draws: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        regions = regions_of(sizes, draws.get("crop"), config)
        return _map(decode_image, (encoded, sizes, regions), draws, config)

    return decode


def _map(
    function: Callable[..., tf.Tensor],
    values: tuple[tf.Tensor, ...],
    draws: dict[str, tf.Tensor],
    config: ImageConfig,
) -> tf.Tensor:
    """Returns `uint8[n, height, width, 3]`: of each, mirrored if chance says so."""

    def make(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return function(*row)

    def make_or_mirror(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
        *parts, draw = row
        pixels = function(*parts)
        return tf.cond(draw[0] < 0.5, lambda: tf.reverse(pixels, [1]), lambda: pixels)

    # One at a time: other chunks keep the other cores busy.
    return tf.map_fn(
        make_or_mirror if config.flip else make,
        (*values, draws["flip"]) if config.flip else values,
        fn_output_signature=tf.TensorSpec((*config.target, 3), tf.uint8),
        parallel_iterations=1,
    )


def _decode_jpeg(
    encoded: tf.Tensor,
    size: tf.Tensor,
    region: tf.Tensor,
    target: tuple[int, int],
    ratios: tuple[int, ...],
) -> tf.Tensor:
    def whole() -> tf.Tensor:
        pixels = resample(_cut_jpeg(encoded, region), target)
        pixels.set_shape((*target, 3))
        return pixels

    def shrunk(ratio: int) -> tf.Tensor:
        # What covers the region, of an image that libjpeg makes ratio times smaller.
        corner = region[:2] // ratio
        end = tf.minimum(-(-(region[:2] + region[2:]) // ratio), -(-size // ratio))
        pixels = tf.image.decode_and_crop_jpeg(
            encoded,
            tf.concat([corner, end - corner], axis=0),
            channels=3,
            ratio=ratio,
            dct_method=_DCT_METHOD,
        )
        exact = tf.cast(region, tf.float32) / ratio
        begin = exact[:2] - tf.cast(corner, tf.float32)
        return resample_part(pixels, begin, exact[2:], target)

    if ratios == (1,):
        return whole()
    spare = tf.reduce_min(2 * region[2:] // (3 * tf.constant(target)))
    which = tf.reduce_sum(tf.cast(spare >= tf.constant(ratios[1:]), tf.int32))
    shrinks = [partial(shrunk, ratio) for ratio in ratios[1:]]
    return tf.switch_case(which, [whole, *shrinks])


def _cut_jpeg(encoded: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    return tf.image.decode_and_crop_jpeg(
        encoded, region, channels=3, dct_method=_DCT_METHOD
    )


def _useful_ratios(config: ImageConfig, record_schema: RecordSchema) -> tuple[int, ...]:
    """Returns the ratios that a region of any image can ask for."""
    if record_schema.width is None or record_schema.height is None:
        return _RATIOS
    height, width = config.target
    spare = min(
        2 * record_schema.height.max // (3 * height),
        2 * record_schema.width.max // (3 * width),
    )
    return tuple(ratio for ratio in _RATIOS if ratio <= max(1, spare))


def _cut(pixels: tf.Tensor, region: tf.Tensor | list[int]) -> tf.Tensor:
    """Returns a region of images, `uint8[…, height, width, 3]`."""
    top, left, height, width = (
        region if isinstance(region, list) else tf.unstack(region)
    )
    return pixels[..., top : top + height, left : left + width, :]


# By the formats of `ImageSpec`; None where each image says its own.
_MAKERS = {None: _of_any, "jpeg": _of_jpeg, "png": _of_png, "raw": _of_raw}
