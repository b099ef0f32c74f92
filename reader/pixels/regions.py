"""Computes crop regions for batches of image sizes.

A region is (top, left, height, width) in pixels.
"""

import math

import numpy as np
from numpy.typing import NDArray

from reader.config.image_config import RESIZED_TRIES, ImageConfig

Int32s = NDArray[np.int32]
Float64s = NDArray[np.float64]


def regions_of(sizes: Int32s, draws: Float64s, config: ImageConfig) -> Int32s:
    """Returns the crop region of each image.

    Args:
        sizes: int32[n, 2]: Height and width of each image, in pixels.
        draws: float64[n, k]: Random numbers in [0, 1), where k is
            `config.num_draws["crop"]`.
        config: Image configuration, with the crop and the target size.

    Returns:
        `int32[n, 4]`: top, left, height and width of each region, in pixels.
    """
    if config.crop == "none":
        return np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    if config.crop == "random_resized":
        return _random_resized(sizes, draws, config)
    regions = _largest(sizes, config)
    room = sizes - regions
    if config.crop == "center":
        # An odd margin puts the region half a pixel above and left of the center.
        return np.concatenate([room // 2, regions], axis=1)
    return np.concatenate([_random_corner(room, draws), regions], axis=1)


def _largest(sizes: Int32s, config: ImageConfig) -> Int32s:
    """Returns `int32[n, 2]`: a fraction of the largest region of the target's aspect.

    The fraction applies to each side.
    """
    exact, target = sizes.astype(np.float64), np.array(config.target, np.float64)
    largest = target * (exact / target).min(axis=1, keepdims=True)
    return _whole(largest * config.fraction)


def _whole(sides: Float64s) -> Int32s:
    """Rounds sides to pixels, at least 1."""
    pixels: Int32s = np.maximum(np.round(sides).astype(np.int32), 1)
    return pixels


def _random_corner(room: Int32s, draws: Float64s) -> Int32s:
    """Returns `int32[n, 2]`: top left corners, uniform over all that fit."""
    corners: Int32s = np.floor(draws * (room + 1)).astype(np.int32)
    return corners


def _random_resized(sizes: Int32s, draws: Float64s, config: ImageConfig) -> Int32s:
    """Returns `int32[n, 4]`: regions of random area, aspect ratio and position.

    Follows torchvision's RandomResizedCrop (Szegedy et al., Going Deeper with
    Convolutions, 2014). The fraction of the image's area is uniform in `scale`, and the
    logarithm of the aspect ratio (width ÷ height) is uniform over `ratio`. The first of
    ten attempts that fits in the image is used. If no attempt fits, the region is a
    center crop of the nearest permitted aspect ratio.
    """
    exact = sizes.astype(np.float64)
    area = exact.prod(axis=1, keepdims=True)
    tries = draws[:, 2:].reshape(-1, RESIZED_TRIES, 2)
    share = _between(tries[:, :, 0], *config.scale)
    low, high = map(math.log, config.ratio)
    ratio = np.exp(_between(tries[:, :, 1], low, high))
    sides = np.sqrt(np.stack([area * share / ratio, area * share * ratio], axis=2))
    drawn = np.round(sides).astype(np.int32)
    fits = ((drawn > 0) & (drawn <= sizes[:, np.newaxis])).all(axis=2)
    taken = drawn[np.arange(len(drawn)), fits.argmax(axis=1)]
    found = fits.any(axis=1, keepdims=True)
    regions = np.where(found, taken, _nearest_shape(exact, config.ratio))
    room = sizes - regions
    corner = np.where(found, _random_corner(room, draws[:, :2]), room // 2)
    return np.concatenate([corner, regions], axis=1).astype(np.int32)


def _between(draws: Float64s, low: float, high: float) -> Float64s:
    return low + draws * (high - low)


def _nearest_shape(exact: Float64s, ratio: tuple[float, float]) -> Int32s:
    """Returns `int32[n, 2]`: the largest regions with an aspect ratio in `ratio`."""
    height, width = exact.T
    shape = np.clip(width / height, *ratio)
    sides = [np.minimum(height, width / shape), np.minimum(width, height * shape)]
    return _whole(np.stack(sides, axis=1))
