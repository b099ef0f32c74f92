"""Engines for tests of the pixel workers: real codecs and few lines."""

import io
import os
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from reader.pixels.errors import PixelsError


@dataclass(frozen=True)
class CornerEngine:
    """Decodes JPEGs and cuts a corner, chosen by the first draw; pads with zeros."""

    row_shape: tuple[int, ...] = (224, 224, 3)
    dtype: str = "uint8"

    def make(self, encoded, sizes, draws, out):
        for i, data in enumerate(encoded):
            try:
                pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
            except ValueError as error:
                raise PixelsError(i, str(error)) from None
            if sizes is not None:
                assert pixels.shape[:2] == tuple(sizes[i])
            out[i] = corner(pixels, draws[i], self.row_shape)


def corner(pixels, draws, row_shape):
    """The answer for one image, for engines and for tests."""
    room = np.maximum(np.subtract(pixels.shape, row_shape), 0)
    top, left = (int(d * (r + 1)) for d, r in zip(draws, room, strict=False))
    cut = pixels[top:, left:][: row_shape[0], : row_shape[1]]
    row = np.zeros(row_shape, np.uint8)
    row[: cut.shape[0], : cut.shape[1]] = cut
    return row


def by_pillow(data, draws, row_shape=(224, 224, 3)):
    """One row as Pillow decodes it."""
    return corner(np.asarray(Image.open(io.BytesIO(data))), draws, row_shape)


@dataclass(frozen=True)
class ScriptEngine:
    """Does what the encoded images say: a word each, with a number after a colon.

    A row holds the process's id, whether TensorFlow is loaded, the row's draw, and the
    number of bytes.
    """

    row_shape: tuple[int, ...] = (4,)
    dtype: str = "float64"

    def make(self, encoded, sizes, draws, out):
        for i, data in enumerate(encoded):
            word, _, number = data.tobytes().decode().partition(":")
            if word == "damaged":
                raise PixelsError(i, f"damaged by {number}")
            if word == "bug":
                raise ZeroDivisionError(number)
            if word == "exit":
                os._exit(int(number))
            if word == "kill":
                os.kill(os.getpid(), int(number))
            if word == "sleep":
                time.sleep(float(number))
            if word == "spin":
                end_at = time.monotonic() + float(number)
                while time.monotonic() < end_at:
                    pass
            if word == "sigint":
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
                out[i] = signal.SIGINT in blocked
                continue
            out[i] = (
                os.getpid(),
                "tensorflow" in sys.modules,
                draws[i, 0] if draws.shape[1] else -1,
                len(data),
            )
