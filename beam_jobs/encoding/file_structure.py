"""Completeness: whether a file of a format reaches to its own end.

Decoders stop when they have the pixels they need, so a file that lacks its last bytes
may decode. Each check walks a format's own structure, in a time that the file's length
bounds. What lies behind a complete file is no damage. JPEG has its walk in `jpeg`, TIFF
in `tiff`.
"""

import struct
import zlib
from collections.abc import Iterator

from beam_jobs.elements import BadInput
from beam_jobs.encoding.tiff import check_tiff

_PNG_SIGNATURE = 8
_MISSING = "it was cut short"

# Top-level boxes of AVIF that may come last; others behind them are no part of it.
_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat"}


def check_complete(data: bytes, format: str) -> None:
    """Checks that a file of `format` (`png`, `gif`, …) is all there.

    Raises:
        BadInput: It was cut short, or a checksum in it is wrong.
    """
    check = _CHECKS.get(format)
    if check is None:
        return
    try:
        check(data)
    except (struct.error, IndexError) as error:
        raise _cut(format) from error


def _cut(format: str) -> BadInput:
    return BadInput("damaged_image", f"{format.upper()} without an end: {_MISSING}")


def _check_png(data: bytes) -> None:
    """Walks the chunks to IEND: length, name, data, and a CRC of the latter two."""
    view, place = memoryview(data), _PNG_SIGNATURE
    while True:
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[place + 4 : end]) != crc:
            shown = name.decode("latin-1")
            raise BadInput("damaged_image", f"PNG chunk {shown!r} has a wrong checksum")
        if name == b"IEND":
            return
        place = end + 4


def _check_gif(data: bytes) -> None:
    """Walks the blocks to the trailer."""
    for _ in _gif_images(data):
        pass


def first_gif_image(data: bytes) -> int | None:
    """Returns where the first image's place and size are told; None if nowhere."""
    try:
        return next(_gif_images(data), None)
    except IndexError:
        return None


def _gif_images(data: bytes) -> Iterator[int]:
    """Yields where each image's header begins; as Pillow does, passes stray bytes.

    Raises:
        IndexError: The blocks do not lead to the trailer.
    """
    place = 13 + _table_bytes(data[10])
    while True:
        kind, place = data[place], place + 1
        if kind == 0x3B:
            return
        if kind == 0x21:
            place = _after_sub_blocks(data, place + 1)
        elif kind == 0x2C:
            yield place
            place = _after_sub_blocks(data, place + 10 + _table_bytes(data[place + 8]))


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, place: int) -> int:
    while data[place]:
        place += 1 + data[place]
    return place + 1


def _check_webp(data: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < 8 + length:
        raise _cut("webp")


def _check_bmp(data: bytes) -> None:
    """Holds the file against its pixels, and a colour profile behind them.

    The file's length in its header is often wrong, and nobody looks at it.
    """
    offset, header = struct.unpack_from("<II", data, 10)
    compression, num_bytes = 0, 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression, num_bytes = struct.unpack_from(
            "<iiHHII", data, 18
        )
    if compression in (0, 3, 6):  # Not packed; 3 and 6 have masks of their own.
        num_bytes = (width * bits + 31) // 32 * 4 * abs(height)
    end = offset + num_bytes
    if header >= 124:
        profile, profile_bytes = struct.unpack_from("<II", data, 14 + 112)
        end = max(end, 14 + profile + profile_bytes) if profile_bytes else end
    if len(data) < end:
        raise _cut("bmp")


def _check_avif(data: bytes) -> None:
    """Walks the top-level boxes; `meta`, or `moov` for animations, must be whole.

    Pixels beyond the end are noticed by the decoder.
    """
    names: set[bytes] = set()
    place = 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
        elif length == 0:  # To the end of the file.
            length = len(data) - place
        if names and name not in _BOXES:
            break
        if length < 8 or place + length > len(data):
            raise _cut("avif")
        names.add(name)
        place += length
    if not names & {b"meta", b"moov"}:
        raise _cut("avif")


_CHECKS = {
    "png": _check_png,
    "gif": _check_gif,
    "webp": _check_webp,
    "bmp": _check_bmp,
    "tiff": check_tiff,
    "avif": _check_avif,
}
