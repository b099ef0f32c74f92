"""Decodes stored images, and crops, resizes and flips them to the requested size.

A region is `int32[4]`: top, left, height and width, in pixels.
"""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from reader.config.image_config import ImageConfig
from reader.datasets.record_schema import RecordSchema
from reader.decode.crops import regions_of, resample, resample_part

# The accurate inverse DCT. TensorFlow's default is faster but less accurate.
_DCT_METHOD = "INTEGER_ACCURATE"
# Factors by which libjpeg can reduce an image while decoding it. The reduced region is
# at least 1.5 times as large as the target: libjpeg's filter is sharper than the filter
# that resizes afterward, which shows if the latter has little left to do:
# docs/performance.md#scaled-decoding.
_RATIOS = (1, 2, 4, 8)

# (encoded string[n], sizes int32[n, 2], draws float64[n, k] by use)
# → uint8[n, height, width, 3]. `sizes` is None if sizes are read from the images.
DecodeImages = Callable[[tf.Tensor, tf.Tensor | None, dict[str, tf.Tensor]], tf.Tensor]


def make_decoder(config: ImageConfig, record_schema: RecordSchema) -> DecodeImages:
    """Returns a function that decodes stored images to pixels of the target size.

    Each image is cropped to its region, and resized with an antialiased bilinear filter
    unless the region already has the target size. JPEGs are cropped while decoding. A
    JPEG region at least three times as high and as wide as the target is decoded at a
    reduced size.

    Args:
        config: Image configuration, with crop, flip and target size.
        record_schema: Schema of the records, with the stored format and image sizes.
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
        # One test for all images: a test for each takes as long as reading its record.
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
    """Decodes JPEG, PNG, GIF or BMP images of any size, from foreign TFRecords."""

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
        no_draws = tf.zeros([tf.size(encoded), 0], tf.float64)
        crop = draws.get("crop", no_draws)
        return _map(decode_image, (encoded, crop), draws, config)

    return decode


def _by_regions(config: ImageConfig, decode_image: _DecodeImage) -> DecodeImages:
    """Returns a function that computes all regions at once, then decodes each image."""

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
    """Applies a function to each image, and flips the image if its draw is below 0.5.

    Returns `uint8[n, height, width, 3]`.
    """

    def make(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
        return function(*row)

    def make_or_mirror(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
        *parts, draw = row
        pixels = function(*parts)
        return tf.cond(draw[0] < 0.5, lambda: tf.reverse(pixels, [1]), lambda: pixels)

    # No parallelism within a chunk: other chunks keep the other cores busy.
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
        # The part of the reduced image, in whole pixels, that covers the region.
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
    """Returns the ratios that the region of some image may need."""
    if record_schema.width is None or record_schema.height is None:
        return _RATIOS
    height, width = config.target
    spare = min(
        2 * record_schema.height.max // (3 * height),
        2 * record_schema.width.max // (3 * width),
    )
    return tuple(ratio for ratio in _RATIOS if ratio <= max(1, spare))


def _cut(pixels: tf.Tensor, region: tf.Tensor | list[int]) -> tf.Tensor:
    """Crops images, `uint8[…, height, width, 3]`, to a region."""
    top, left, height, width = (
        region if isinstance(region, list) else tf.unstack(region)
    )
    return pixels[..., top : top + height, left : left + width, :]


# Decoders by the formats of `ImageSpec`; None if the format varies by image.
_MAKERS = {None: _of_any, "jpeg": _of_jpeg, "png": _of_png, "raw": _of_raw}
