"""Detects truncated image files by walking the structure of each format.

Decoders stop once they have all pixels, so a file may decode without its last bytes.
The time of each check is bounded by the length of the file. Bytes after the end of a
complete file are not damage. The modules `jpeg` and `tiff` walk their formats.
"""

import struct
import zlib
from collections.abc import Iterator

from beam_jobs.elements import BadInput
from beam_jobs.encoding.tiff import check_tiff

_PNG_SIGNATURE = 8
_TRUNCATED = "it was cut short"

# Top-level boxes of AVIF. Any other box after the first one is trailing data.
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


def _check_png(data: bytes) -> None:
    """Walks the chunks to IEND. Each has a length, a name, data, and a CRC of both."""
    view, offset = memoryview(data), _PNG_SIGNATURE
    while True:
        length, name = struct.unpack_from(">I4s", data, offset)
        end = offset + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[offset + 4 : end]) != crc:
            shown = name.decode("latin-1")
            raise BadInput("damaged_image", f"PNG chunk {shown!r} has a wrong checksum")
        if name == b"IEND":
            return
        offset = end + 4


def _check_gif(data: bytes) -> None:
    """Walks the blocks to the trailer."""
    for _ in _gif_images(data):
        pass


def first_gif_image(data: bytes) -> int | None:
    """Returns the byte offset of the first image's position and size, or None."""
    try:
        return next(_gif_images(data), None)
    except IndexError:
        return None


def _gif_images(data: bytes) -> Iterator[int]:
    """Yields the byte offset of each image's header. Skips stray bytes, as Pillow does.

    Raises:
        IndexError: The file ends before the trailer.
    """
    offset = 13 + _table_bytes(data[10])
    while True:
        kind, offset = data[offset], offset + 1
        if kind == 0x3B:
            return
        if kind == 0x21:
            offset = _after_sub_blocks(data, offset + 1)
        elif kind == 0x2C:
            yield offset
            offset = _after_sub_blocks(
                data, offset + 10 + _table_bytes(data[offset + 8])
            )


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, offset: int) -> int:
    while data[offset]:
        offset += 1 + data[offset]
    return offset + 1


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


def _check_avif(data: bytes) -> None:
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
            raise _truncated("avif")
        names.add(name)
        offset += length
    if not names & {b"meta", b"moov"}:
        raise _truncated("avif")


_CHECKS = {
    "png": _check_png,
    "gif": _check_gif,
    "webp": _check_webp,
    "bmp": _check_bmp,
    "tiff": check_tiff,
    "avif": _check_avif,
}
