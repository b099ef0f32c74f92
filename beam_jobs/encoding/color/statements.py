"""Reads the color space that a file states, in the order that its format gives.

START HERE for colors. docs/format.md#colors has the rule of each format. A statement
that is damaged, incomplete or unspecified counts as missing, and the next one applies.
"""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import ExifTags, Image

from beam_jobs.encoding.color.boxes import color_codes
from beam_jobs.encoding.color.color_space import (
    ADOBE_RGB,
    SRGB,
    Color,
    color_of_codes,
    color_of_gamma,
    profile_for,
    sampled_curve,
)

# What Pillow and the code below raise for damaged metadata.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

# A statement is an ICC profile, a color space, or None for the next statement.
_Statement = bytes | Color | None


def stated_profile(
    data: bytes, format: str, image: Image.Image, mode: str
) -> bytes | None:
    """Returns an ICC profile for the colors that a file states, or None without any.

    Args:
        data: Bytes of the file, of any format except JPEG.
        format: Image format: `png`, `gif`, ….
        image: The same file as opened by Pillow, not decoded yet.
        mode: Mode of its pixels, as named by Pillow.

    Raises:
        BadInput: The colors are of a kind that is not converted, such as HDR.
    """
    for read in _STATEMENTS[format]:
        try:
            stated = read(data, image)
        except _DAMAGE:
            continue  # The metadata is damaged; the pixels may be intact.
        if isinstance(stated, Color):
            # Numbers that are no color space give no profile.
            stated = profile_for(stated, gray=mode.startswith(("L", "I;16")))
        if stated is not None:
            return stated
    return None


def exif_profile(data: bytes, *, gray: bool) -> bytes | None:
    """Returns an ICC profile of Adobe RGB if Exif metadata states it, or None.

    ColorSpace is 2, which cameras write though Exif does not define it, or it is
    uncalibrated and the interoperability index is `R03` (DCF 2.0).

    Args:
        data: Metadata, with or without the header `Exif`. It may be damaged.
        gray: Whether the profile is for gray pixels.
    """
    if not _ADOBE_MARKS.search(data):
        return None
    exif = Image.Exif()
    try:
        exif.load(data)
        color = _exif_color(exif)
    except _DAMAGE:
        return None  # The metadata is unreadable; the pixels may be intact.
    return profile_for(color, gray=gray) if color else None


_ADOBE, _UNCALIBRATED = 2, 0xFFFF
# The index, or a field ColorSpace of `_ADOBE` in either byte order. Pillow takes half a
# millisecond to parse the metadata of a camera, and nearly all of it is of sRGB.
_ADOBE_MARKS = re.compile(
    rb"R03|\x01\xa0\x03\0\x01\0\0\0\x02\0|\xa0\x01\0\x03\0\0\0\x01\0\x02"
)


def _exif_color(exif: Image.Exif) -> Color | None:
    space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    index = None
    if space == _UNCALIBRATED:
        interop = exif.get_ifd(ExifTags.IFD.Interop)
        index = interop.get(ExifTags.Interop.InteropIndex)
    return ADOBE_RGB if space == _ADOBE or index == "R03" else None


def _exif(data: bytes, image: Image.Image) -> _Statement:
    if image.format == "PNG" and "exif" not in image.info:
        return None  # Pillow would decode the image to look for it after the pixels.
    return _exif_color(image.getexif())


def _icc(data: bytes, image: Image.Image) -> _Statement:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _png_codes(data: bytes, image: Image.Image) -> _Statement:
    primaries, transfer, matrix, is_full = struct.unpack(
        "4B", _png_chunk(data, b"cICP")
    )
    if matrix or is_full > 1:  # A PNG holds RGB.
        return None
    return color_of_codes(primaries, transfer, narrow=not is_full)


def _png_srgb(data: bytes, image: Image.Image) -> _Statement:
    return SRGB if len(_png_chunk(data, b"sRGB")) == 1 else None


def _png_gamma(data: bytes, image: Image.Image) -> _Statement:
    (gamma,) = struct.unpack(">I", _png_chunk(data, b"gAMA"))
    x_white, y_white, *rest = struct.unpack(">8I", _png_chunk(data, b"cHRM"))
    pairs = [number / 100_000 for number in (*rest, x_white, y_white)]
    return color_of_gamma(100_000 / gamma, pairs)


def _png_chunk(data: bytes, wanted: bytes) -> bytes:
    """Returns the content of the first such chunk before the pixels, or b""."""
    offset, name = 8, b""
    while name != b"IDAT":
        length, name = struct.unpack_from(">I4s", data, offset)
        if name == wanted:
            return data[offset + 8 : offset + 8 + length]
        offset += 12 + length
    return b""


def _nclx(data: bytes, image: Image.Image) -> _Statement:
    codes = color_codes(data)
    return color_of_codes(*codes) if codes else None


_TRANSFER_FUNCTION, _WHITE_POINT, _PRIMARY_CHROMATICITIES = 301, 318, 319
_FEWEST_VALUES = 16  # Of 4 bits, the fewest that RGB has in a TIFF.


def _tiff_tags(data: bytes, image: Image.Image) -> _Statement:
    """Reads RGB colorimetry: TIFF 6.0, section 20. LittleCMS' tifficc does the same."""
    tags = image.getexif()
    table, white, primaries = (
        tags.get(tag)
        for tag in (_TRANSFER_FUNCTION, _WHITE_POINT, _PRIMARY_CHROMATICITIES)
    )
    if not (table and white and primaries) or len(table) < _FEWEST_VALUES:
        return None
    values = np.array(table, np.uint16)
    # One table, or one for each channel; each has a power of two values.
    number = 3 if len(values) % 3 == 0 else 1
    curves = tuple(sampled_curve(part) for part in np.split(values, number))
    return Color(tuple(float(number) for number in (*primaries, *white)), curves)


_GIF_PROFILE = b"\x21\xff\x0bICCRGBG1012"


def _gif_icc(data: bytes, image: Image.Image) -> _Statement:
    """Reads the application extension of ICC.1:2022, annex B.6."""
    offset = data.find(_GIF_PROFILE)
    return b"".join(_sub_blocks(data, offset + 14)) if offset >= 0 else None


def _sub_blocks(data: bytes, offset: int) -> Iterator[bytes]:
    while data[offset]:
        yield data[offset + 1 : offset + 1 + data[offset]]
        offset += 1 + data[offset]


def _bmp_icc(data: bytes, image: Image.Image) -> _Statement:
    """Reads the profile of BITMAPV5HEADER."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header < 124 or data[70:74] != b"DEBM":  # PROFILE_EMBEDDED, little-endian.
        return None
    offset, length = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + offset : 14 + offset + length] or None


# Statements of each format, the first one first. AVIF: ISO/IEC 23008-12, section
# 6.5.5; PNG: third edition, section 4.3.
_STATEMENTS: dict[str, tuple[Callable[[bytes, Image.Image], _Statement], ...]] = {
    "png": (_png_codes, _icc, _png_srgb, _png_gamma, _exif),
    "avif": (_icc, _nclx, _exif),
    "heif": (_icc, _nclx, _exif),
    "webp": (_icc, _exif),
    "tiff": (_icc, _tiff_tags, _exif),
    "gif": (_gif_icc,),
    "bmp": (_bmp_icc,),
}
