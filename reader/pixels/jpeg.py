"""Decodes JPEGs, at a reduced size where only a small image is wanted."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from reader.pixels.scratch import scratch

Pixels = NDArray[np.uint8]
Region = tuple[float, float, float, float]

# The reduced region is at least twice as high and as wide as the target, since the
# filter of libjpeg is sharper than the one that resizes afterward:
# docs/performance.md#scaled-decoding.
_KEEP = 2
# Sizes at which libjpeg decodes, in eighths. It decodes at others too, but at three
# eighths slower than at four, and at five, six or seven slower than the whole.
_EIGHTHS = (1, 2, 4, 8)


def size_of(data: Pixels) -> tuple[int, int] | None:
    """Returns the height and width in a JPEG's header; None if it is no plain JPEG."""
    if data[:3].tobytes() != b"\xff\xd8\xff":
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return height, width


def decode_region(
    data: Pixels, size: tuple[int, int], region: Region, target: tuple[int, int]
) -> tuple[Pixels, Region]:
    """Decodes a JPEG as far as a region of it needs.

    Args:
        data: uint8[k], the JPEG.
        size: Height and width of the image, in pixels.
        region: Top, left, height and width of the region, in pixels.
        target: Height and width that the region will be resampled to.

    Returns:
        uint8[height, width, 3], valid until this thread's next call; and the region in
        its pixels, of fractional pixels if the image is reduced.

    Raises:
        ValueError: The JPEG is damaged, or has another size.
    """
    eighths = _eighths(region, target)
    height, width = (-(-side * eighths // 8) for side in size)
    pixels = simplejpeg.decode_jpeg(
        data,
        "RGB",
        min_height=height,
        min_width=width,
        buffer=scratch("jpeg", (size[0] * size[1] * 3,)),
        strict=True,
    )
    check_size(pixels, (height, width))
    if eighths == 8:
        return pixels, region
    top, left, *sides = (part * eighths / 8 for part in region)
    return pixels, (top, left, sides[0], sides[1])


def _eighths(region: Region, target: tuple[int, int]) -> int:
    """Returns the scale to decode at, in eighths."""
    shrink = min(region[2] / target[0], region[3] / target[1])
    return next((n for n in _EIGHTHS if n * shrink >= 8 * _KEEP), 8)


def check_size(pixels: Pixels, size: tuple[int, int]) -> None:
    """Checks the size of a decoded image.

    Raises:
        ValueError: The size is another one than the record states.
    """
    if pixels.shape[:2] != tuple(size):
        found = " × ".join(map(str, pixels.shape[:2]))
        raise ValueError(
            f"it has {found} pixels, but its record says {size[0]} × {size[1]}"
        )
