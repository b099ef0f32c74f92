"""Decodes JPEGs as far as a region needs: the rows above its end, at a reduced size."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from reader.pixels.scratch import scratch
from reader.pixels.short_jpeg import is_complaint_about_rest, shortened

Pixels = NDArray[np.uint8]
Region = tuple[float, float, float, float]

# The reduced region is at least twice as high and as wide as the target, since the
# filter of libjpeg is sharper than the one that resizes afterward:
# docs/performance-notes.md#scaled-decoding.
_KEEP = 2
# Sizes at which libjpeg decodes, in eighths. It decodes at others too, but at three
# eighths slower than at four, and at five, six or seven slower than the whole.
_EIGHTHS = (1, 2, 4, 8)
# Rows that are stored together, at most.
_ROWS = 16


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
    pixels = _decode_rows(data, size, region, eighths)
    if pixels is None:
        pixels = _decode_all(data, size, eighths)
    if eighths == 8:
        return pixels, region
    top, left, *sides = (part * eighths / 8 for part in region)
    return pixels, (top, left, sides[0], sides[1])


def _decode_rows(
    data: Pixels, size: tuple[int, int], region: Region, eighths: int
) -> Pixels | None:
    """Decodes the rows of a JPEG down to the last of a region.

    Returns None if all have to be decoded, as of a damaged JPEG.
    """
    # Colors are stored at half of the height, and interpolated with the next row.
    bottom = int(region[0] + region[2]) + 16 // eighths
    num_rows = -(-bottom // _ROWS) * _ROWS
    if num_rows >= size[0]:
        return None
    short = shortened(data, size, num_rows)
    if short is None:
        return None
    height, width = _reduced((num_rows, size[1]), eighths)
    pixels = scratch("jpeg", (height, width, 3))
    try:
        _decode(short, (height, width), pixels.reshape(-1))
    except ValueError as error:
        return pixels if is_complaint_about_rest(error) else None
    return None  # It ends too early.


def _decode_all(data: Pixels, size: tuple[int, int], eighths: int) -> Pixels:
    stated = size_of(data)
    if stated is not None:
        check_size(stated, size)
    height, width = _reduced(size, eighths)
    buffer = scratch("jpeg", (height * width * 3,))
    return _decode(data, (height, width), buffer)


def _reduced(size: tuple[int, int], eighths: int) -> tuple[int, int]:
    """Returns the size of an image that is decoded at some eighths of its size."""
    return -(-size[0] * eighths // 8), -(-size[1] * eighths // 8)


def _decode(
    data: Pixels | bytearray, at_least: tuple[int, int], buffer: Pixels
) -> Pixels:
    """Decodes a JPEG at the smallest scale that gives a height and width."""
    pixels: Pixels = simplejpeg.decode_jpeg(
        data,
        "RGB",
        min_height=at_least[0],
        min_width=at_least[1],
        buffer=buffer,
        strict=True,
    )
    return pixels


def _eighths(region: Region, target: tuple[int, int]) -> int:
    """Returns the scale to decode at, in eighths."""
    shrink = min(region[2] / target[0], region[3] / target[1])
    return next((n for n in _EIGHTHS if n * shrink >= 8 * _KEEP), 8)


def check_size(found: tuple[int, ...], size: tuple[int, int]) -> None:
    """Checks the size of an image.

    Args:
        found: Its height and width; further numbers are ignored.
        size: Height and width that its record states.

    Raises:
        ValueError: The sizes differ.
    """
    if found[:2] != tuple(size):
        pixels = " × ".join(map(str, found[:2]))
        raise ValueError(
            f"it has {pixels} pixels, but its record says {size[0]} × {size[1]}"
        )
