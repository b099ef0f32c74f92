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


# (encoded bytes, height, width) → uint8[height, width, 3]; only formats that need the
# size look at it.
Decode = Callable[[bytes, int, int], Pixels]


def decoder(image_format: str | None) -> Decode:
    """Returns a function that decodes images of a stored format.

    Args:
        image_format: One of `reader.contract.schema.STORED_FORMATS`, or None if each
            image has its own.

    Raises:
        UsageError: The library that decodes it is not installed.
    """
    module, package = _LIBRARIES.get(image_format, (None, ""))
    if module is not None:
        name = "JPEG" if image_format is None else image_format.upper()
        import_library(module, f"a dataset of {name} images", package)
    return _DECODERS[image_format]


def _decode_raw(data: bytes, height: int, width: int) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()


def _decode_jpeg(data: bytes, height: int = 0, width: int = 0) -> Pixels:
    import simplejpeg

    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    return pixels


def _decode_any(data: bytes, height: int, width: int) -> Pixels:
    """Decodes what others stored: JPEG, or whatever Pillow knows."""
    if data.startswith(b"\xff\xd8\xff"):
        # Pillow passes over stray bytes; it too refuses a part of an image.
        with contextlib.suppress(ValueError):
            return _decode_jpeg(data)
    return _decode_by_pillow(data, height, width)


def _decode_by_pillow(data: bytes, height: int, width: int) -> Pixels:
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


# A decoder for each stored format, and one for images of several.
_DECODERS: dict[str | None, Decode] = {
    "jpeg": _decode_jpeg,
    "png": _decode_by_pillow,
    "raw": _decode_raw,
    None: _decode_any,
}
# What decodes them, and the package that brings it.
_LIBRARIES: dict[str | None, tuple[str, str]] = {
    "jpeg": ("simplejpeg", "simplejpeg"),
    "png": ("PIL", "pillow"),
    None: ("simplejpeg", "simplejpeg"),
}
