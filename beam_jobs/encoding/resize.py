"""Computes sizes under each `--resize` mode, and resizes pixels.

Sizes are computed with integers, so they are the same on every machine. A side is
rounded to the nearest pixel, halves up, and is at least 1.
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from beam_jobs.encoding.pixels import Pixels, turn_upright
from reader.contract.manifest import ImageSpec

_WHITE = 255


class Sizes(NamedTuple):
    """Sizes of a resized image, in pixels.

    Attributes:
        scaled: (height, width) after scaling.
        stored: (height, width) after cropping (`crop`) or padding (`pad`).
    """

    scaled: tuple[int, int]
    stored: tuple[int, int]


def plan_sizes(height: int, width: int, spec: ImageSpec) -> Sizes:
    """Returns the sizes of an image after scaling, and after cropping or padding.

    Images are enlarged only if `spec.upscale` is set. With s = `spec.size`:

    - `shorter_side`: scaled by s / shorter side; `longer_side`: by s / longer side;
    - `area`: scaled by √(s² / (height · width)), each side rounded separately;
    - `crop`: scaled as by `shorter_side`, then each side cropped to at most s;
    - `pad`: scaled as by `longer_side`, then padded to s × s;
    - `stretch`: s × s, or without `upscale` each side at most s;
    - `none`: unchanged.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        spec: Resize mode and size.
    """
    size, scaled = spec.size, (height, width)
    if spec.resize in ("shorter_side", "crop"):
        scaled = _scaled(height, width, size, min(height, width), spec)
    elif spec.resize in ("longer_side", "pad"):
        scaled = _scaled(height, width, size, max(height, width), spec)
    elif spec.resize == "area" and (spec.upscale or height * width > size * size):
        scaled = _area_side(height, width, size), _area_side(width, height, size)
    elif spec.resize == "stretch":
        scaled = (size, size) if spec.upscale else (min(height, size), min(width, size))
    if spec.resize == "crop":
        return Sizes(scaled, (min(scaled[0], size), min(scaled[1], size)))
    return Sizes(scaled, (size, size) if spec.resize == "pad" else scaled)


def shrink_ratio(height: int, width: int, spec: ImageSpec) -> int:
    """Returns the factor by which a decoder may shrink an image: 1, 2, 4 or 8.

    The decoded image keeps at least twice the scaled size, so that the area filter
    still determines the result: docs/performance-notes-building.md#large-photographs.
    """
    scaled = plan_sizes(height, width, spec).scaled
    spare = min(height // (2 * scaled[0]), width // (2 * scaled[1]))
    return max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(1, spare))


def _scaled(
    height: int, width: int, size: int, side: int, spec: ImageSpec
) -> tuple[int, int]:
    """Returns both sides times size / side, unless `spec` forbids enlarging."""
    if side <= size and not spec.upscale:
        return height, width
    return (
        max(1, (height * size * 2 + side) // (2 * side)),
        max(1, (width * size * 2 + side) // (2 * side)),
    )


def _area_side(side: int, other: int, size: int) -> int:
    """Returns size · √(side / other), rounded: ⌊(⌊2x⌋ + 1) / 2⌋ is ⌊x + ½⌋."""
    return max(1, (math.isqrt(4 * size * size * side // other) + 1) // 2)


def resize(
    pixels: Pixels,
    spec: ImageSpec,
    *,
    whole: tuple[int, int] | None = None,
    shrunk: int = 1,
    orientation: int = 1,
) -> Pixels:
    """Resizes an image as `spec` requires, and turns it upright.

    Sides that shrink use the area filter, then sides that grow use the cubic filter.
    `crop` keeps the center (half a pixel up and left if the margins are uneven). `pad`
    centers the image on white. Returns the same array if nothing changes.

    Args:
        pixels: uint8[height, width, 3], not turned yet.
        spec: Resize mode and size.
        whole: (height, width) of the full image, if a decoder has shrunk it.
        shrunk: Factor by which the decoder has shrunk each side. At most
            `shrink_ratio`.
        orientation: EXIF orientation of `pixels`. Applied after scaling, because
            libjpeg rounds at the right and the bottom of the encoded image.
    """
    whole = whole or (pixels.shape[0], pixels.shape[1])
    scaled = plan_sizes(*whole, spec).scaled
    if shrunk > 1:
        pixels = _shrink_rest(pixels, whole, scaled, shrunk)
    pixels = turn_upright(_scale(pixels, *scaled), orientation)
    return _crop_or_pad(pixels, spec)


def _shrink_rest(
    pixels: Pixels, whole: tuple[int, int], scaled: tuple[int, int], ratio: int
) -> Pixels:
    """Scales pixels that a decoder has shrunk by `ratio` to the size `scaled`.

    If a side of the full image is not a multiple of `ratio`, its last pixel covers less
    than the others. OpenCV therefore gets the scale instead of the size. It computes
    the right size, because the input has at least two pixels for each output pixel.
    """
    down, across = (ratio * to / side for to, side in zip(scaled, whole, strict=True))
    made: Any = cv2.resize(
        pixels, None, fx=across, fy=down, interpolation=cv2.INTER_AREA
    )
    return np.asarray(made, np.uint8)


def _crop_or_pad(pixels: Pixels, spec: ImageSpec) -> Pixels:
    """Crops for `crop`, pads for `pad`; returns the same array otherwise."""
    height, width = pixels.shape[:2]
    if spec.resize == "crop":
        stored = min(height, spec.size), min(width, spec.size)
    elif spec.resize == "pad":
        stored = spec.size, spec.size
    else:
        stored = height, width
    if stored == (height, width):
        return pixels
    top, left = abs(height - stored[0]) // 2, abs(width - stored[1]) // 2
    if spec.resize == "crop":
        cropped = pixels[top : top + stored[0], left : left + stored[1]]
        return np.ascontiguousarray(cropped)
    canvas = np.full((*stored, 3), _WHITE, np.uint8)
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _scale(pixels: Pixels, height: int, width: int) -> Pixels:
    before = pixels.shape[:2]
    smaller = min(height, before[0]), min(width, before[1])
    if smaller != before:
        pixels = _filter(pixels, smaller, cv2.INTER_AREA)
    if smaller != (height, width):
        pixels = _filter(pixels, (height, width), cv2.INTER_CUBIC)
    return pixels


def _filter(pixels: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    resized: Any = cv2.resize(pixels, size[::-1], interpolation=interpolation)
    return np.asarray(resized, np.uint8)
