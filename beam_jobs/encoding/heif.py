"""Opens HEIC and HEIF images, if the extra `[heif]` is installed."""

import contextlib
import io
from collections.abc import Iterator
from importlib.util import find_spec

from PIL import Image

from beam_jobs.elements import BadInput


def open_heif(data: bytes) -> Image.Image:
    """Opens a HEIF image and reads only its header.

    The image is turned upright when it is decoded, and has no orientation: libheif
    applies the rotation and mirroring of the container, which overrule EXIF (ISO/IEC
    23008-12, annex A).

    Raises:
        BadInput: pillow-heif is not installed.
        SyntaxError: The header is not readable.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise BadInput(
            "unsupported_image", "HEIC or HEIF: pip install 'diptych[heif]' to read it"
        ) from error
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


@contextlib.contextmanager
def heif_threads_restored() -> Iterator[None]:
    """Restores the number of threads that decode a HEIF image on exit."""
    if find_spec("pillow_heif") is None:
        yield
        return
    from pillow_heif import options

    before = options.DECODE_THREADS
    try:
        yield
    finally:
        options.DECODE_THREADS = before


def set_heif_threads(number: int) -> None:
    """Sets the number of threads that decode a HEIF image, if pillow-heif is there."""
    if find_spec("pillow_heif") is not None:
        from pillow_heif import options

        options.DECODE_THREADS = number
