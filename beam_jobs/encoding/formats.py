"""Detects the format of an image file, and checks its size before decoding."""

import io
import re
import struct
import zlib

from PIL import Image, UnidentifiedImageError

from beam_jobs.elements import BadInput
from beam_jobs.encoding.file_structure import (
    Box,
    check_complete,
    first_webp_frame,
    plain_gif,
)
from beam_jobs.encoding.heif import open_heif
from beam_jobs.encoding.other_formats import describe_other
from beam_jobs.encoding.png import (
    as_stored,
    check_rows,
    pixel_mode,
    plain_png,
    set_clear_color,
)
from beam_jobs.encoding.tiff import TiffKind, read_tiff_kind

# First bytes of each format. AVIF may be listed only among the compatible brands.
_MAGIC = {
    "jpeg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG\r\n\x1a\n",
    "gif": rb"GIF8[79]a",
    "webp": rb"RIFF....WEBP",
    "bmp": rb"BM",
    "tiff": rb"II[*+]\0|MM\0[*+]",
    "avif": rb"....ftyp(avi[fs]|(mif1|msf1)....(.{4}){0,16}?avi[fs])",
    "heif": rb"....ftyp(hei[cmsx]|hev[cmsx]|mif[12]|msf1)",
}
_MAGIC_OF = {format: re.compile(magic, re.S) for format, magic in _MAGIC.items()}

# Exceptions that Pillow raises for invalid data. Pillow reads from memory, so an
# OSError is also about the data.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Error messages of Pillow for a known format whose variant it does not support.
_UNSUPPORTED = re.compile(
    "unsupported|not supported|unknown pixel mode|unknown data organization|"
    "unknown.*compression|cannot handle|unrecognized|too large for|unknown raw mode",
    re.I,
)
_ANY_NUMBER = 1 << 62

# Memory addresses of objects differ between runs.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def format_of(data: bytes) -> str:
    """Returns the format: `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `avif`, `heif`.

    Raises:
        BadInput: The data has another format.
    """
    for format, magic in _MAGIC_OF.items():
        if magic.match(data):
            return format
    raise BadInput("not_an_image", describe_other(data))


def open_image(data: bytes, format: str, *, max_pixels: int) -> Image.Image:
    """Opens an image with Pillow and reads only its header.

    `finish_image` completes the image once it is decoded.

    Args:
        data: Bytes of the file.
        format: Image format: `jpeg`, `png`, ….
        max_pixels: Maximum number of pixels of the image.

    Raises:
        BadInput: The header is not readable, or the image has more than `max_pixels`
            pixels.
    """
    kind: TiffKind | None = None
    # For these formats, Pillow allocates memory before it reports the size.
    if format == "webp":
        check_pixels(*_webp_size(data), max_pixels=max_pixels)
    elif format == "gif":
        data, box = plain_gif(data)
        check_pixels(*_gif_size(data, box), max_pixels=max_pixels)
    elif format == "tiff":
        kind = read_tiff_kind(data, max_pixels=max_pixels)
        data = kind.readable(data)
    try:
        image = _opened(data, format)
    except DECODING_ERRORS as error:
        if kind is not None:
            kind.check()
        what = format.upper() if kind is None else str(kind)
        raise _unreadable(data, format, error, what) from error
    try:
        check_pixels(*image.size, max_pixels=max_pixels)
        if kind is not None:
            kind.check()
    except BadInput:
        image.close()
        raise
    return image


def finish_image(image: Image.Image, data: bytes, format: str) -> Image.Image:
    """Returns a decoded image with what Pillow leaves to its caller, or misreads.

    Args:
        image: Image that `open_image` returned, decoded.
        data: Bytes of the file.
        format: Image format: `png`, `tiff`, ….

    Raises:
        BadInput: Pixels are missing.
    """
    if format == "png":
        check_rows(image, data)
        return as_stored(image, data)
    if format == "tiff":
        return read_tiff_kind(data, max_pixels=_ANY_NUMBER).corrected(image)
    return image


def mode_of(image: Image.Image, data: bytes, format: str) -> str:
    """Returns the mode of the pixels that `finish_image` returns, as Pillow names it.

    Args:
        image: Image that `open_image` returned.
        data: Bytes of the file.
        format: Image format: `png`, `tiff`, ….
    """
    return pixel_mode(image, data) if format == "png" else image.mode


def first_frame(data: bytes, format: str) -> Box | None:
    """Returns the part of the canvas that the first frame of an animation covers.

    Returns None for formats whose frames cover the canvas.
    """
    if format == "gif":
        return plain_gif(data)[1]
    return first_webp_frame(data) if format == "webp" else None


def _opened(data: bytes, format: str) -> Image.Image:
    if format == "heif":
        return open_heif(data)
    if format != "png":
        return Image.open(io.BytesIO(data), formats=(format.upper(),))
    image = Image.open(io.BytesIO(plain_png(data)), formats=("PNG",))
    set_clear_color(image, data)
    return image


def check_pixels(width: int, height: int, *, max_pixels: int, what: str = "") -> None:
    """Checks a size against `--max_pixels`.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        max_pixels: Maximum number of pixels.
        what: Text after the size in the message, such as ` once resized`.

    Raises:
        BadInput: The size has more than `max_pixels` pixels.
    """
    if width * height > max_pixels:
        raise BadInput(
            "too_many_pixels",
            f"{width} × {height}{what}, more than {max_pixels} in all",
        )


def described(error: Exception) -> str:
    """Returns the message of an error, without text that differs between runs."""
    return _ADDRESS.sub("", str(error)) or type(error).__name__


def is_unsupported(error: Exception) -> bool:
    """Returns whether an error reports a variant that Pillow does not support."""
    return bool(_UNSUPPORTED.search(str(error)))


def is_tiff_of_webp(data: bytes) -> bool:
    """Returns whether a TIFF is compressed with WebP, which few builds support."""
    return read_tiff_kind(data, max_pixels=_ANY_NUMBER).is_of_webp


def _unreadable(data: bytes, format: str, error: Exception, what: str) -> BadInput:
    """Returns the error for a header that Pillow cannot read.

    For a file that Pillow does not identify, the format's plugin gives the cause.
    """
    check_complete(data, format)
    if isinstance(error, UnidentifiedImageError):
        try:
            Image.OPEN[format.upper()][0](io.BytesIO(data), "").close()
        except DECODING_ERRORS as cause:
            error = cause
    if is_unsupported(error):
        return BadInput("unsupported_image", f"{what}: {described(error)}")
    begins = f"begins with {data[:8].hex(' ')}, but its header cannot be read"
    return BadInput("damaged_image", begins)


def _gif_size(data: bytes, box: Box) -> tuple[int, int]:
    """Returns (width, height) of the canvas, extended to contain the first image."""
    width, height = struct.unpack_from("<HH", data, 6)
    return max(width, box.left + box.width), max(height, box.top + box.height)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Returns (width, height) from the first chunk; (0, 0) if it is truncated."""
    chunk, header = data[12:16], data[20:30]
    if len(header) < 10:
        return 0, 0
    if chunk == b"VP8X":
        width, height = header[4:7], header[7:10]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = header[6:8], header[8:10]
    low = 0x3FFF
    return int.from_bytes(width, "little") & low, int.from_bytes(height, "little") & low
