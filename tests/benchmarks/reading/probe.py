"""A corpus of one picture that shows what was cut out of it, and how.

Red minus blue grows from left to right and green minus blue from top to bottom, so a
line through each gives the region that an image was made of, and whether it is flipped.
Vertical stripes, one pixel wide, lie over all channels: an image that is made smaller
with an antialiased filter hardly shows them, one without has most of them left.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import SIZE, STORED

HEIGHT, WIDTH = STORED, STORED * 3 // 2
COUNT = 512
# Levels of 255: the color ramps are from -_RAMP to _RAMP, stripes are ± _STRIPE.
_RAMP, _STRIPE = 80, 30
# The last pixels of an image depend on what a filter does at the border of a region.
_INNER = slice(8, SIZE - 8)


class Views(NamedTuple):
    """Arrays [n] of what images show of the picture.

    Attributes:
        left: Left edge of the region, in pixels of the picture.
        top: Top edge.
        width: Width.
        height: Height.
        flipped: Whether left and right are exchanged.
        stripes: Standard deviation of what is left of the stripes, as a fraction of
            that in the picture.
    """

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    flipped: NDArray[np.bool_]
    stripes: NDArray[np.float64]


def corpus(work: Path) -> Corpus:
    """Writes the pictures, if they are not there yet, and returns the corpus."""
    images, drawn = work / "images", work / "drawn"
    if not images.exists():
        shutil.rmtree(drawn, ignore_errors=True)
        drawn.mkdir(parents=True)
        first, *others = (drawn / f"{number:04}.jpg" for number in range(COUNT))
        first.write_bytes(simplejpeg.encode_jpeg(picture(), quality=95))
        for other in others:
            os.link(first, other)
        drawn.rename(images)
    return Corpus(images=str(images), captions=None, work=str(work))


def picture() -> NDArray[np.uint8]:
    """Returns uint8[256, 384, 3]."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128.0)
    pixels[:, :, 0] += np.linspace(-_RAMP, _RAMP, WIDTH)
    pixels[:, :, 1] += np.linspace(-_RAMP, _RAMP, HEIGHT)[:, np.newaxis]
    pixels[:, 0::2] += _STRIPE
    pixels[:, 1::2] -= _STRIPE
    return np.round(pixels).astype(np.uint8)


def views(images: Any, top: float) -> Views:
    """Returns what a batch shows.

    Args:
        images: Array [n, 224, 224, 3] or [n, 3, 224, 224].
        top: Value of white.
    """
    pixels = np.asarray(images, np.float64) * (255 / top)
    if pixels.shape[1] == 3:
        pixels = pixels.transpose(0, 2, 3, 1)
    red, green, blue = np.moveaxis(pixels, 3, 0)
    left, right = _edges((red - blue).mean(axis=1), WIDTH)
    upper, lower = _edges((green - blue).mean(axis=2), HEIGHT)
    stripes = blue.mean(axis=1)[:, _INNER].std(axis=1) / _STRIPE
    first, last = np.minimum(left, right), np.maximum(left, right)
    return Views(first, upper, last - first, lower - upper, left > right, stripes)


def _edges(ramps: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Returns where the first pixel begins and the last one ends, of each image."""
    inner = np.arange(SIZE)[_INNER]
    slope, start = np.polyfit(inner, ramps[:, _INNER].T, 1)
    ends = np.stack([start - slope / 2, start + (SIZE - 0.5) * slope])
    edges: NDArray[np.float64] = (ends + _RAMP) * ((side - 1) / (2 * _RAMP)) + 0.5
    return edges


def joined(parts: Sequence[Views]) -> Views:
    """Returns the views of several batches as one."""
    return Views(*map(np.concatenate, zip(*parts, strict=True)))
