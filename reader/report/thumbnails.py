"""Pixels → small JPEGs that a page carries within itself."""

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

from reader.decode.numpy_images import Pixels

if TYPE_CHECKING:
    from PIL import Image

_LONGER_SIDE = 400
_MOST_BYTES = 36 << 10
_QUALITIES = (80, 60, 40)


class Thumbnail(NamedTuple):
    """A picture on the page: a `data:` address, and its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail_of(pixels: Pixels) -> Thumbnail:
    """Returns a picture of at most 400 pixels and 36 KiB; its shape is kept."""
    from PIL import Image

    image = Image.fromarray(pixels)
    side = _LONGER_SIDE
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
        for quality in _QUALITIES:
            data = _jpeg(image, quality)
            if len(data) <= _MOST_BYTES:
                text = base64.b64encode(data).decode()
                return Thumbnail(f"data:image/jpeg;base64,{text}", *image.size)
        # Noise: no quality makes it small.
        side //= 2


def _jpeg(image: "Image.Image", quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue()
