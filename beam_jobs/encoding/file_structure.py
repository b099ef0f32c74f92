"""Detects truncated image files by walking the structure of each format.

Decoders stop once they have all pixels, so a file may decode without its last bytes.
The time of each check is bounded by the length of the file. Bytes after the end of a
complete file are not damage. The modules `jpeg`, `png` and `tiff` walk their formats.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from beam_jobs.elements import BadInput
from beam_jobs.encoding.png import check_png
from beam_jobs.encoding.tiff import check_tiff

_TRUNCATED = "it was cut short"

# Top-level boxes of AVIF and HEIF. Any other box after the first one is trailing data.
_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat"}


def check_complete(data: bytes, format: str) -> None:
    """Checks that a file is complete.

    Args:
        data: Bytes of the file.
        format: Image format: `png`, `gif`, ….

    Raises:
        BadInput: The file is truncated, or a checksum in it is wrong.
    """
    check = _CHECKS.get(format)
    if check is None:
        return
    try:
        check(data)
    except (struct.error, IndexError) as error:
        raise _truncated(format) from error


def _truncated(format: str) -> BadInput:
    return BadInput("damaged_image", f"{format.upper()} without an end: {_TRUNCATED}")


class Box(NamedTuple):
    """A part of an image, in pixels from its left and top."""

    left: int
    top: int
    width: int
    height: int


def _check_gif(data: bytes) -> None:
    """Walks the blocks to the trailer."""
    for _ in _gif_blocks(data):
        pass


def plain_gif(data: bytes) -> tuple[bytes, Box]:
    """Returns a GIF of the first image alone, and the part of the canvas it covers.

    Pillow takes minutes to read comments of many megabytes.

    Raises:
        BadInput: The file ends before the first image does.
    """
    control = b""
    try:
        for kind, begin, end in _gif_blocks(data):
            if kind == _IMAGE:
                box = Box(*struct.unpack_from("<4H", data, begin + 1))
                table = 13 + _table_bytes(data[10])
                return data[:table] + control + data[begin:end] + b";", box
            if data[begin + 1] == _GRAPHIC_CONTROL:
                control = data[begin:end]
    except (struct.error, IndexError) as error:
        raise _truncated("gif") from error
    return data, Box(0, 0, 0, 0)


_IMAGE, _GRAPHIC_CONTROL, _TRAILER = 0x2C, 0xF9, 0x3B
# An extension, an image or the trailer begins.
_GIF_BLOCK = re.compile(rb"[\x21\x2c\x3b]")


def _gif_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (kind, begin, end) of each block. Skips stray bytes, as Pillow does.

    Raises:
        IndexError: The file ends before the trailer.
    """
    offset = 13 + _table_bytes(data[10])
    while match := _GIF_BLOCK.search(data, offset):
        kind, begin = data[match.start()], match.start()
        if kind == _TRAILER:
            return
        head = 11 + _table_bytes(data[begin + 9]) if kind == _IMAGE else 2
        offset = _after_sub_blocks(data, begin + head)
        yield kind, begin, offset
    raise IndexError("no trailer")


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, offset: int) -> int:
    while data[offset]:
        offset += 1 + data[offset]
    return offset + 1


def first_webp_frame(data: bytes) -> Box | None:
    """Returns the part of the canvas that an animation's first frame covers, or None.

    Source: WebP container specification, `ANMF`.
    """
    offset = 12
    while data[12:16] == b"VP8X" and len(data) >= offset + 24:
        name, length = struct.unpack_from("<4sI", data, offset)
        if name == b"ANMF":
            left, top, width, height = (
                int.from_bytes(data[n : n + 3], "little")
                for n in range(offset + 8, offset + 20, 3)
            )
            return Box(2 * left, 2 * top, width + 1, height + 1)
        offset += 8 + length + length % 2
    return None


def _check_webp(data: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < 8 + length:
        raise _truncated("webp")


def _check_bmp(data: bytes) -> None:
    """Checks that the pixels, and a color profile after them, are complete.

    The file length in the header is often wrong, and decoders ignore it.
    """
    offset, header = struct.unpack_from("<II", data, 10)
    compression, num_bytes = 0, 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression, num_bytes = struct.unpack_from(
            "<iiHHII", data, 18
        )
    if compression in (0, 3, 6):  # Uncompressed; 3 and 6 have bit masks.
        num_bytes = (width * bits + 31) // 32 * 4 * abs(height)
    end = offset + num_bytes
    if header >= 124:
        profile, profile_bytes = struct.unpack_from("<II", data, 14 + 112)
        end = max(end, 14 + profile + profile_bytes) if profile_bytes else end
    if len(data) < end:
        raise _truncated("bmp")
    if compression in (1, 2):
        _check_runs(data, offset, width, is_rle4=compression == 2)
    if header >= 56 and (compression, bits) == (3, 16):
        (mask,) = struct.unpack_from("<I", data, 14 + 52)
        _check_alpha_bits(data[offset : offset + num_bytes], width, mask & 0xFFFF)


def _check_runs(data: bytes, offset: int, width: int, *, is_rle4: bool) -> None:
    """Checks that run lengths cover all pixels, and that Pillow can read them.

    Pillow reads one half-byte too few of an odd number of literal pixels. Skipped
    pixels have the first color of the palette in Pillow, and are black in browsers.
    """
    column = 0
    while offset + 2 <= len(data):
        run, value = data[offset], data[offset + 1]
        offset += 2
        if run:
            column += run
        elif value == 1:
            return
        elif value == 2 or (value == 0 and column < width):
            raise BadInput("unsupported_image", "BMP that skips pixels")
        elif value == 0:
            column = 0
        elif is_rle4 and value % 2:
            raise BadInput("unsupported_image", "BMP of RLE4 with odd literal runs")
        else:
            num_bytes = value // 2 if is_rle4 else value
            column, offset = column + value, offset + num_bytes + num_bytes % 2


def _check_alpha_bits(pixels: bytes, width: int, mask: int) -> None:
    """Checks that a BMP of 16 bits is opaque: Pillow passes its transparency over."""
    rows = np.frombuffer(pixels, "<u2").reshape(-1, max(2, (width + 1) // 2 * 2))
    if not (rows[:, :width] & mask == mask).all():
        raise BadInput("unsupported_image", "BMP of 16 bits with transparency")


def _check_avif(data: bytes) -> None:
    _check_boxes(data, "avif")


def _check_heif(data: bytes) -> None:
    _check_boxes(data, "heif")


def _check_boxes(data: bytes, format: str) -> None:
    """Walks the top-level boxes; `meta`, or `moov` for animations, must be complete.

    The decoder detects pixels beyond the end of the file.
    """
    names: set[bytes] = set()
    offset = 0
    while offset + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, offset + 8)
        elif length == 0:  # To the end of the file.
            length = len(data) - offset
        if names and name not in _BOXES:
            break
        if length < 8 or offset + length > len(data):
            raise _truncated(format)
        names.add(name)
        offset += length
    if not names & {b"meta", b"moov"}:
        raise _truncated(format)


_CHECKS = {
    "png": check_png,
    "gif": _check_gif,
    "webp": _check_webp,
    "bmp": _check_bmp,
    "tiff": check_tiff,
    "avif": _check_avif,
    "heif": _check_heif,
}
