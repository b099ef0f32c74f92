"""Casts one image from uint8 to the dtype and the data format of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reader.config.image_config import ImageConfig

Pixels = NDArray[np.uint8]

# (uint8[height, width, 3], row of a batch) → None
Cast = Callable[[Pixels, NDArray[Any]], None]


def row_shape(config: ImageConfig) -> tuple[int, int, int]:
    """Returns the shape of one image in a batch."""
    height, width = config.target
    if config.data_format == "channels_first":
        return 3, height, width
    return height, width, 3


def row_dtype(config: ImageConfig) -> str:
    """Returns the NumPy type of one value; `uint16` holds the bits of bfloat16."""
    return "uint16" if config.dtype == "bfloat16" else config.dtype


def caster(config: ImageConfig) -> Cast:
    """Returns a function that casts an image into its row of a batch."""
    arrange = _channels_first if config.data_format == "channels_first" else _copy
    if config.dtype == "uint8":
        return arrange
    if config.dtype == "bfloat16":
        convert = _table_of_bfloat16(config)
    else:
        convert = _fractions if config.normalize is None else _normalizer(config)
    shape = row_shape(config)

    def cast(pixels: Pixels, row: NDArray[Any]) -> None:
        if config.data_format == "channels_first":
            arranged = np.empty(shape, np.uint8)
            arrange(pixels, arranged)
            pixels = arranged
        convert(pixels, row)

    return cast


def _copy(pixels: Pixels, row: Pixels) -> None:
    row[...] = pixels


def _channels_first(pixels: Pixels, row: Pixels) -> None:
    for channel, plane in enumerate(row):
        cv2.extractChannel(pixels, channel, dst=plane)


def black_row(config: ImageConfig) -> NDArray[Any]:
    """Returns a black image as a row of a batch; `uint16` holds bits of bfloat16."""
    row = np.empty(row_shape(config), row_dtype(config))
    caster(config)(np.zeros((*config.target, 3), np.uint8), row)
    return row


def _fractions(pixels: Pixels, row: NDArray[np.float32]) -> None:
    """Converts uint8 to float32 in [0, 1].

    The result is x · (1 / 255), rounded to float32. It equals that of TensorFlow's
    `convert_image_dtype` bit for bit.
    """
    flat = pixels.reshape(len(pixels), -1)
    to = row.reshape(len(row), -1)
    cv2.addWeighted(flat, 1 / 255, flat, 0, 0, dst=to, dtype=cv2.CV_32F)


def _normalizer(config: ImageConfig) -> Cast:
    """Returns a function that computes (x / 255 - mean) / std.

    It takes one multiplication and one subtraction. The factors have the shape of
    whole rows: NumPy takes longer to broadcast three values.
    """
    _, width = config.target
    mean, std = np.array(config.normalize, np.float64)
    scale, offset = (
        _of_rows(part.astype(np.float32), width, config)
        for part in (1 / (255 * std), mean / std)
    )

    def normalize(pixels: Pixels, row: NDArray[np.float32]) -> None:
        lines = row.reshape(scale.shape[0], -1, scale.shape[1])
        np.copyto(lines, pixels.reshape(lines.shape))
        lines *= scale[:, np.newaxis]
        lines -= offset[:, np.newaxis]

    return normalize


def _of_rows(
    values: NDArray[np.float32], width: int, config: ImageConfig
) -> NDArray[np.float32]:
    """Returns float32[planes, values of a line] from a value for each channel."""
    if config.data_format == "channels_first":
        return np.repeat(values, width).reshape(3, width)
    return np.tile(values, width).reshape(1, 3 * width)


def _table_of_bfloat16(config: ImageConfig) -> Cast:
    """Returns a function that looks up the bits of the 256 levels of each channel."""
    levels = dataclasses.replace(
        config, size=(256, 1), dtype="float32", data_format="channels_last"
    )
    exact = np.empty((256, 1, 3), np.float32)
    pixels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(exact.shape)
    caster(levels)(pixels, exact)
    table = _bfloat16(exact).reshape(1, 256, 3)
    planes = [np.ascontiguousarray(table[..., channel]) for channel in range(3)]

    def look_up(pixels: Pixels, row: NDArray[np.uint16]) -> None:
        if config.data_format == "channels_last":
            cv2.LUT(pixels, table, dst=row)
            return
        for plane, of_plane, to in zip(pixels, planes, row, strict=True):
            cv2.LUT(plane, of_plane, dst=to)

    return look_up


def _bfloat16(exact: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounds to the nearest bfloat16, ties to even; `exact` must be finite."""
    whole = exact.view(np.uint32)
    odd = (whole >> 16) & 1
    return ((whole + 0x7FFF + odd) >> 16).astype(np.uint16)
