"""Sizes: what becomes of height and width under each `--resize`, and of the pixels.

All arithmetic on sizes is on whole numbers, so it is the same everywhere. A side is
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


def shrink_ratio(height: int, width: int, spec: ImageSpec) -> int:
    """Returns by how much a decoder may shrink an image beforehand: 1, 2, 4 or 8.

    What it leaves is twice the size asked for, or more, so that the area filter still
    has the last word: docs/performance.md#large-photographs.
    """
    scaled = plan_sizes(height, width, spec).scaled
    spare = min(height // (2 * scaled[0]), width // (2 * scaled[1]))
    return max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(1, spare))


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


def resize(
    pixels: Pixels,
    spec: ImageSpec,
    *,
    whole: tuple[int, int] | None = None,
    shrunk: int = 1,
    orientation: int = 1,
) -> Pixels:
    """Returns uint8[height, width, 3] upright, at the size that `spec` asks for.

    Sides that shrink do so by the area filter, then those that grow by the cubic one.
    `crop` keeps the middle (half a pixel up and left where that is uneven), and `pad`
    lays the image there, on white. What needs no change is returned itself.

    Args:
        pixels: uint8[height, width, 3].
        spec: What is asked for.
        whole: (height, width) of all of it, if a decoder has shrunk it.
        shrunk: By how much, at most `shrink_ratio`.
        orientation: Exif's, of `pixels`. Turned are those that are left; libjpeg rounds
            at the right and at the bottom, as they were encoded.
    """
    whole = whole or (pixels.shape[0], pixels.shape[1])
    scaled = plan_sizes(*whole, spec).scaled
    if shrunk > 1:
        pixels = _shrink_rest(pixels, whole, scaled, shrunk)
    pixels = turn_upright(_scale(pixels, *scaled), orientation)
    return _lay(pixels, spec)


def _shrink_rest(
    pixels: Pixels, whole: tuple[int, int], scaled: tuple[int, int], ratio: int
) -> Pixels:
    """Returns pixels, shrunk by `ratio` before, at the size `scaled`.

    Where a side was no multiple of `ratio`, the last of its pixels stand for less than
    the others: OpenCV is told the scale, not the size, which comes out right, as there
    are two pixels at least for each that is made.
    """
    down, across = (ratio * to / side for to, side in zip(scaled, whole, strict=True))
    made: Any = cv2.resize(
        pixels, None, fx=across, fy=down, interpolation=cv2.INTER_AREA
    )
    return np.asarray(made, np.uint8)


def _lay(pixels: Pixels, spec: ImageSpec) -> Pixels:
    """Returns pixels cut for `crop`, with margins for `pad`, themselves otherwise."""
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
        cut = pixels[top : top + stored[0], left : left + stored[1]]
        return np.ascontiguousarray(cut)
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
