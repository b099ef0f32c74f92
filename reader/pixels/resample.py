"""Resamples images as Pillow's antialiased BILINEAR filter does, within two levels.

A side that grows is interpolated by OpenCV. A side that shrinks is a product of a
banded matrix of weights with rows of pixels, which is twice as fast as Pillow. Weights
are multiples of 2⁻¹⁶ that sum to 1, so all sums are exact in float32: the result is the
same on every CPU and with every library for linear algebra.
"""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from reader.pixels.scratch import scratch

Pixels = NDArray[np.uint8]

# Rows of output that share a product, because they need nearly the same rows of input.
_TOGETHER = 8
# Rows of input that are multiplied at a time, in bytes as float32: they stay in a
# core's cache. docs/performance-notes.md#resampling
_CACHED_BYTES = 3 << 17
_ONE = 1 << 16


def resample(pixels: Pixels, out: Pixels) -> None:
    """Resamples an image to the size of `out`.

    Args:
        pixels: uint8[height, width, 3], any view.
        out: uint8[height, width, 3], contiguous.
    """
    (height, width), target = pixels.shape[:2], out.shape[:2]
    if (height, width) == target:
        out[...] = pixels
        return
    if width > target[1]:
        narrow = _shrunk_columns(pixels, target[1], 0.0, float(width))
    else:
        narrow = pixels
    _resample_rows(narrow, out)


def resample_part(
    pixels: Pixels, corner: tuple[float, float], size: tuple[float, float], out: Pixels
) -> None:
    """Shrinks a region whose corner and size may be fractional pixels.

    Args:
        pixels: uint8[height, width, 3], any view.
        corner: Top and left of the region, in pixels.
        size: Height and width of the region, in pixels; larger than those of `out`.
        out: uint8[height, width, 3], contiguous.
    """
    begins = [int(begin) for begin in corner]
    ends = [
        min(side, int(np.ceil(begin + length)))
        for side, begin, length in zip(pixels.shape, corner, size, strict=False)
    ]
    part = pixels[begins[0] : ends[0], begins[1] : ends[1]]
    offsets = [begin - whole for begin, whole in zip(corner, begins, strict=True)]
    narrow = _shrunk_columns(part, out.shape[1], offsets[1], size[1])
    rows = narrow.reshape(len(narrow), -1)
    _shrink(rows, offsets[0], size[0], out.reshape(len(out), -1))


def _contiguous(pixels: Pixels) -> Pixels:
    """Returns a contiguous image: itself, or a copy until this thread's next call."""
    if pixels.flags.c_contiguous:
        return pixels
    copied = scratch("copied", pixels.shape)
    copied[...] = pixels
    return copied


def _resample_rows(pixels: Pixels, out: Pixels) -> None:
    """Resamples the height, and enlarges the width if needed."""
    height, width = pixels.shape[:2]
    if height > len(out):
        rows = _contiguous(pixels).reshape(height, -1)
        if width == out.shape[1]:
            _shrink(rows, 0.0, float(height), out.reshape(len(out), -1))
            return
        short = scratch("rows", (len(out), width * 3), np.uint8)
        _shrink(rows, 0.0, float(height), short)
        pixels = short.reshape(len(out), width, 3)
    if pixels.shape == out.shape:
        out[...] = pixels
        return
    size = (out.shape[1], out.shape[0])
    cv2.resize(pixels, size, dst=out, interpolation=cv2.INTER_LINEAR)


def _shrunk_columns(pixels: Pixels, target: int, begin: float, length: float) -> Pixels:
    """Returns uint8[height, target, 3], with a shrunk width."""
    height, width = pixels.shape[:2]
    turned = scratch("turned", (width, height, 3))
    cv2.transpose(pixels, dst=turned)
    narrow = scratch("columns", (target, height * 3))
    _shrink(turned.reshape(width, height * 3), begin, length, narrow)
    shrunk = scratch("shrunk", (height, target, 3))
    cv2.transpose(narrow.reshape(target, height, 3), dst=shrunk)
    return shrunk


def _shrink(rows: Pixels, begin: float, length: float, out: Pixels) -> None:
    """Computes uint8[target, width] from the rows of uint8[n, width]."""
    target, width = out.shape
    places, weights = _bands(len(rows), target, begin, length)
    taps = places.shape[1]
    step = max(1, _CACHED_BYTES // (4 * taps * width))
    for first in range(0, len(places), step):
        some = places[first : first + step]
        taken = scratch("taken", (some.size, width))
        np.take(rows, some.ravel(), axis=0, out=taken, mode="clip")
        exact = scratch("exact", (len(some), taps, width), np.float32)
        np.copyto(exact.reshape(taken.shape), taken)
        sums = scratch("sums", (len(some), _TOGETHER, width), np.float32)
        np.matmul(weights[first : first + step], exact, out=sums)
        part = out[first * _TOGETHER : (first + step) * _TOGETHER]
        cv2.convertScaleAbs(sums.reshape(-1, width)[: len(part)], dst=part)


@functools.lru_cache(4096)
def _bands(
    num: int, target: int, begin: float, length: float
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Returns the weights of a triangle filter, in blocks of neighboring outputs.

    The filter is as wide as two pixels of output, and normalized where the border cuts
    it off, as in Pillow's `precompute_coeffs`.

    Args:
        num: Number of rows of input.
        target: Number of rows of output.
        begin: Place in the input at which the output begins.
        length: Part of the input that the output covers, longer than `target`.

    Returns:
        intp[blocks, taps], the rows of input of each block; and
        float32[blocks, 8, taps], their weights in each row of output.
    """
    scale = length / target
    blocks = -(-target // _TOGETHER)
    outputs = np.minimum(np.arange(blocks * _TOGETHER), target - 1)
    centers = (begin + (outputs + 0.5) * scale).reshape(blocks, _TOGETHER)
    first = np.floor(centers[:, 0] - scale - 0.5).clip(0, num - 1).astype(np.intp)
    last = np.ceil(centers[:, -1] + scale + 0.5).clip(1, num).astype(np.intp)
    taps = int((last - first).max())
    first = np.minimum(first, num - taps)
    places = first[:, np.newaxis] + np.arange(taps)
    distances = np.abs(places[:, np.newaxis] + 0.5 - centers[:, :, np.newaxis])
    weights = np.clip(1 - distances / scale, 0, None)
    weights = np.round(weights / weights.sum(axis=2, keepdims=True) * _ONE)
    largest = np.expand_dims(weights.argmax(axis=2), 2)
    missing = _ONE - weights.sum(axis=2, keepdims=True)
    mended = np.take_along_axis(weights, largest, axis=2) + missing
    np.put_along_axis(weights, largest, mended, axis=2)
    return places, (weights / _ONE).astype(np.float32)
