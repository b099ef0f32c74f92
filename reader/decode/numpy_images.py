"""Encoded images → uint8[height, width, 3], without TensorFlow.

All decoders are strict: a ValueError is raised of what is damaged or cut off.
"""

import contextlib
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reader.contract.host import import_library

Pixels = NDArray[np.uint8]


def decoder(image_format: str | None) -> Callable[..., Pixels]:
    """Returns what decodes images: of bytes, and for `raw` of height and width.

    Args:
        image_format: `jpeg`, `png`, `raw`, or None if each image has its own.

    Raises:
        UsageError: The library that does it is not installed.
    """
    if image_format == "raw":
        return _unpack
    if image_format == "png":
        import_library("PIL", "a dataset of PNG images", "pillow")
        return _decode_by_pillow
    import_library("simplejpeg", "a dataset of JPEG images", "simplejpeg")
    return _decode_jpeg if image_format == "jpeg" else _decode_any


def _unpack(data: bytes, height: int, width: int) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()


def _decode_jpeg(data: bytes) -> Pixels:
    import simplejpeg

    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    return pixels


def _decode_any(data: bytes) -> Pixels:
    """Decodes what others stored: JPEG, or whatever Pillow knows."""
    if data.startswith(b"\xff\xd8\xff"):
        # Pillow passes over stray bytes; it too refuses a part of an image.
        with contextlib.suppress(ValueError):
            return _decode_jpeg(data)
    return _decode_by_pillow(data)


def _decode_by_pillow(data: bytes) -> Pixels:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ValueError(
            "no plain JPEG, which needs Pillow: pip install pillow"
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I;16"):  # Gray; Pillow would cut it off at 255.
                gray = (np.asarray(image) >> 8).astype(np.uint8)
                return np.stack([gray] * 3, axis=-1)
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its image does not decode: {error}") from error
