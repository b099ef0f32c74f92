"""Sizes: what becomes of height and width under each `--resize`, and of the pixels.

All arithmetic on sizes is on whole numbers, so it is the same everywhere. A side is
rounded to the nearest pixel, halves up, and is at least 1.
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from reader.contract.manifest import ImageSpec

Pixels = NDArray[np.uint8]

_WHITE = 255

# One thread per image, and the same pixels on every machine: IPP has other rounding.
cv2.setNumThreads(1)
cv2.ipp.setUseIPP(False)


class Sizes(NamedTuple):
    """What becomes of a size.

    Attributes:
        scaled: (height, width) after scaling.
        stored: (height, width) after the cut of `crop` or the margins of `pad`.
    """

    scaled: tuple[int, int]
    stored: tuple[int, int]


def plan_sizes(height: int, width: int, spec: ImageSpec) -> Sizes:
    """Returns what becomes of an upright image of that size, in pixels.

    With s = `spec.size`, and nothing enlarged unless `spec.upscale`:

    - `shorter_side`: scaled by s / shorter side; `longer_side`: by s / longer side;
    - `area`: scaled by √(s² / (height · width)), each side rounded by itself;
    - `crop`: scaled as by `shorter_side`, then cut to s × s, or to what there is;
    - `pad`: scaled as by `longer_side`, then laid on a canvas of s × s;
    - `stretch`: s × s, or without `upscale` each side at most s;
    - `none`: as it is.
    """
    size, scaled = spec.size, (height, width)
    if spec.resize in ("shorter_side", "crop"):
        scaled = _scaled(height, width, size, min(height, width), spec)
    elif spec.resize in ("longer_side", "pad"):
        scaled = _scaled(height, width, size, max(height, width), spec)
    elif spec.resize == "area" and (spec.upscale or height * width > size * size):
        scaled = _root(height, width, size), _root(width, height, size)
    elif spec.resize == "stretch":
        scaled = (size, size) if spec.upscale else (min(height, size), min(width, size))
    if spec.resize == "crop":
        return Sizes(scaled, (min(scaled[0], size), min(scaled[1], size)))
    return Sizes(scaled, (size, size) if spec.resize == "pad" else scaled)


def _scaled(
    height: int, width: int, size: int, side: int, spec: ImageSpec
) -> tuple[int, int]:
    """Returns the sides · size / side, unless that enlarges and may not."""
    if side <= size and not spec.upscale:
        return height, width
    return (
        max(1, (height * size * 2 + side) // (2 * side)),
        max(1, (width * size * 2 + side) // (2 * side)),
    )


def _root(side: int, other: int, size: int) -> int:
    """Returns size · √(side / other), rounded: ⌊(⌊2x⌋ + 1) / 2⌋ is ⌊x + ½⌋."""
    return max(1, (math.isqrt(4 * size * size * side // other) + 1) // 2)


def resize(pixels: Pixels, spec: ImageSpec) -> Pixels:
    """Returns uint8[height, width, 3] at the size that `spec` asks for.

    Sides that shrink do so by the area filter, then those that grow by the cubic one.
    `crop` keeps the middle (half a pixel up and left where that is uneven), and `pad`
    lays the image there, on white. What needs no change is returned itself.
    """
    sizes = plan_sizes(pixels.shape[0], pixels.shape[1], spec)
    pixels = _scale(pixels, *sizes.scaled)
    if sizes.stored == sizes.scaled:
        return pixels
    top, left = (
        abs(scaled - stored) // 2
        for scaled, stored in zip(sizes.scaled, sizes.stored, strict=True)
    )
    if spec.resize == "crop":
        height, width = sizes.stored
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
    canvas = np.full((*sizes.stored, 3), _WHITE, np.uint8)
    canvas[top : top + sizes.scaled[0], left : left + sizes.scaled[1]] = pixels
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
