"""Decodes images to `uint8[height, width, 3]` without TensorFlow.

All decoders are strict: they raise a ValueError for damaged or truncated images.
"""

import contextlib
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reader.contract.host import import_library
from reader.contract.schema import check_stored_format

Pixels = NDArray[np.uint8]


# (encoded bytes, height, width) → uint8[height, width, 3]. Only raw pixels need the
# size; other formats ignore it.
Decode = Callable[[bytes, int, int], Pixels]


def decoder(image_format: str | None) -> Decode:
    """Returns a function that decodes images of a stored format.

    Args:
        image_format: One of `reader.contract.schema.STORED_FORMATS`, or None if the
            format varies by image.

    Raises:
        DatasetError: A later version of Diptych stored the images in a new format.
        UsageError: The library that decodes the format is not installed.
    """
    check_stored_format(image_format)
    module, package = _LIBRARIES.get(image_format, (None, ""))
    if module is not None:
        name = "JPEG" if image_format is None else image_format.upper()
        import_library(module, f"a dataset of {name} images", package)
    return _DECODERS[image_format]


def undecodable(error: ValueError) -> str:
    """Returns the message about a record whose image a decoder rejected."""
    return f"its image does not decode: {error}"


def _decode_raw(data: bytes, height: int, width: int) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()


def _decode_jpeg(data: bytes, height: int, width: int) -> Pixels:
    import simplejpeg

    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    return pixels


def _decode_any(data: bytes, height: int, width: int) -> Pixels:
    """Decodes a JPEG, or any other format that Pillow supports."""
    if data.startswith(b"\xff\xd8\xff"):
        # Pillow skips stray bytes that simplejpeg rejects. Both reject truncation.
        with contextlib.suppress(ValueError):
            return _decode_jpeg(data, height, width)
    return _decode_by_pillow(data, height, width)


def _decode_by_pillow(data: bytes, height: int, width: int) -> Pixels:
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError:
        raise ValueError(
            "only plain JPEG decodes without Pillow: pip install pillow"
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I;16"):  # Gray; Pillow would clip it at 255.
                gray = (np.asarray(image) >> 8).astype(np.uint8)
                return np.stack([gray] * 3, axis=-1)
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:  # Its message names an object, not the problem.
        raise ValueError("it has no format that Pillow knows") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


# Decoders by stored format; None if the format varies by image.
_DECODERS: dict[str | None, Decode] = {
    "jpeg": _decode_jpeg,
    "png": _decode_by_pillow,
    "raw": _decode_raw,
    None: _decode_any,
}
# The module that decodes each format, and the package that provides it.
_LIBRARIES: dict[str | None, tuple[str, str]] = {
    "jpeg": ("simplejpeg", "simplejpeg"),
    "png": ("PIL", "pillow"),
    None: ("simplejpeg", "simplejpeg"),
}
