"""Parses the chunks of a PNG without decoding the pixels.

The *plain* PNG has the pixels and the metadata that affects them. Pillow opens it
instead of the source, because Pillow fails on large or unreadable text.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.elements import BadInput

_SIGNATURE = 8

# Maximum size of decompressed metadata in bytes: Pillow's limit for a chunk, and the
# largest ICC profile that is applied.
MAX_UNPACKED = 4 << 20

# Ancillary chunks that may affect pixels, with their length if it is fixed. `iCCP` and
# text are handled apart.
_PIXEL_CHUNKS = {b"tRNS": None, b"eXIf": None, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
# Text that may hold an orientation, by its keyword.
_ORIENTED = (b"XML:com.adobe.xmp", b"Raw profile type exif")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# Maximum number of chunks, and of profiles and oriented texts that are read: each may
# take the time of `MAX_UNPACKED` bytes, and Pillow takes no more than 64 MiB of text.
_MAX_CHUNKS, _MAX_READ = 1_000_000, 8

# Coded bytes that are unpacked at once, to at most a thousand times as many.
_PIECE = 1 << 14

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGB_ALPHA: 4}
# First column and row, and their steps, of each pass of an interlaced PNG.
_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
_PASSES += [(1, 0, 2, 2), (0, 1, 1, 2)]


class Chunk(NamedTuple):
    """A chunk of a PNG.

    Attributes:
        name: Name, four bytes.
        data: Bytes of the chunk's data.
        begin, end: Byte offsets of the whole chunk in the file.
        crc: Checksum as stored.
    """

    name: bytes
    data: memoryview
    begin: int
    end: int
    crc: int


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yields the chunks up to `IEND`.

    Raises:
        BadInput: There are too many chunks.
        struct.error: The file ends before `IEND`.
    """
    view, offset, name = memoryview(data), _SIGNATURE, b""
    for _ in range(_MAX_CHUNKS):
        if name == b"IEND":
            return
        length, name = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length
        (crc,) = struct.unpack_from(">I", data, end - 4)
        yield Chunk(name, view[offset + 8 : end - 4], offset, end, crc)
        offset = end
    raise BadInput("unsupported_image", f"PNG of more than {_MAX_CHUNKS} chunks")


def check_png(data: bytes) -> None:
    """Checks that the chunks lead to `IEND` and have the right checksums.

    Raises:
        BadInput: A checksum is wrong.
        struct.error: The file ends before `IEND`.
    """
    for chunk in _chunks(data):
        if zlib.crc32(chunk.data, zlib.crc32(chunk.name)) != chunk.crc:
            shown = chunk.name.decode("latin-1")
            raise BadInput("damaged_image", f"PNG chunk {shown!r} has a wrong checksum")


def plain_png(data: bytes) -> bytes:
    """Returns the PNG without metadata that does not affect pixels.

    A truncated PNG keeps its last bytes, so that decoding it fails.

    Raises:
        BadInput: There are too many chunks.
    """
    parts, end, has_pixels = [data[:_SIGNATURE]], _SIGNATURE, False
    num_read = 0
    try:
        for chunk in _chunks(data):
            end = chunk.end
            has_pixels |= chunk.name == b"IDAT"
            num_read += chunk.name == b"iCCP" or _is_oriented(chunk)
            if _is_kept(chunk, has_pixels=has_pixels, reads=num_read <= _MAX_READ):
                parts.append(data[chunk.begin : end])
    except struct.error:
        parts.append(data[end:])
    return b"".join(parts)


def _is_oriented(chunk: Chunk) -> bool:
    """Returns whether a chunk is text that may hold an orientation."""
    keyword, _, _ = bytes(chunk.data[:100]).partition(b"\0")
    return chunk.name in _TEXTS and keyword in _ORIENTED


def _is_kept(chunk: Chunk, *, has_pixels: bool, reads: bool) -> bool:
    name, data = chunk.name, bytes(chunk.data[:100])
    if not name[0] & 0x20 or not name.isalpha():  # Critical, or damaged.
        return True
    keyword, _, rest = data.partition(b"\0")
    if name == b"iCCP":
        packed = chunk.data[len(keyword) + 2 :]
        return reads and rest[:1] == b"\0" and _unpacks(packed)
    if name in _TEXTS:
        is_read = reads and _is_oriented(chunk)
        return is_read and _is_readable(name, chunk.data, len(keyword))
    if name == b"tRNS" and has_pixels:  # The specification requires it before them.
        return False
    return name in _PIXEL_CHUNKS and _PIXEL_CHUNKS[name] in (None, len(chunk.data))


def _is_readable(name: bytes, data: memoryview, keyword: int) -> bool:
    """Returns whether Pillow can read a chunk of text."""
    if name == b"tEXt":
        return len(data) <= MAX_UNPACKED
    if name == b"zTXt":
        method = bytes(data[keyword + 1 : keyword + 2])
        return method == b"\0" and _unpacks(data[keyword + 2 :])
    flags = bytes(data[keyword + 1 : keyword + 3])  # Is compressed, and the method.
    packed = bytes(data[keyword + 3 :]).split(b"\0", 2)[-1]
    if flags[:1] != b"\1":
        return len(packed) <= MAX_UNPACKED
    return flags == b"\1\0" and _unpacks(memoryview(packed))


def _unpacks(packed: memoryview) -> bool:
    """Returns whether zlib data is intact and has at most `MAX_UNPACKED` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def check_rows(image: Image.Image, data: bytes) -> None:
    """Checks that the coded data of a decoded PNG has all rows.

    Pillow leaves missing rows zero. The data is unpacked again only if the last row is.

    Raises:
        BadInput: Rows are missing.
    """
    last = image.crop((0, image.height - 1, *image.size))
    header = struct.unpack_from(">IIBB2xB", data, 16)
    width, height, depth, color, is_interlaced = header
    if np.asarray(last).any() and not is_interlaced:
        return
    missing = 0  # In bytes, unpacked.
    for left, top, across, down in _PASSES if is_interlaced else [(0, 0, 1, 1)]:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0:  # Each row begins with the number of its filter.
            num_bits = columns * depth * _CHANNELS[color]
            missing += max(0, rows) * (1 + (num_bits + 7) // 8)
    coded = b"".join(chunk.data for chunk in _chunks(data) if chunk.name == b"IDAT")
    # Without the header of zlib, its checksum is not compared; Pillow does not either.
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    for begin in range(2, len(coded), _PIECE):
        missing -= len(unpacker.decompress(coded[begin : begin + _PIECE]))
        if missing <= 0:
            return
    if missing > len(unpacker.flush()):
        raise BadInput("damaged_image", "PNG with fewer rows than its header says")


def pixel_mode(image: Image.Image, data: bytes) -> str:
    """Returns the mode of a PNG's pixels, as named by Pillow.

    Pillow reads gray with alpha of 16 bits as `RGBA`; `as_stored` makes it `LA`.
    """
    return "LA" if data[25] == _GRAY_ALPHA else image.mode


def set_clear_color(image: Image.Image, data: bytes) -> None:
    """Corrects the transparency of a PNG that Pillow has opened.

    Pillow compares the clear color of gray of 2 or 4 bits with pixels that it has
    scaled to 8 bits, keeps bits that the specification ignores, and fails if a palette
    has more than 256 transparencies. Source: PNG, section 11.3.2.1.

    Args:
        image: Image as opened by Pillow, not decoded yet.
        data: Bytes of the file.
    """
    depth, color, clear = data[24], data[25], image.info.get("transparency")
    if clear is None:
        return
    if color == _PALETTE:
        image.info["transparency"] = clear[:256] if isinstance(clear, bytes) else clear
    elif color == _RGB and depth == 8:
        image.info["transparency"] = tuple(channel & 0xFF for channel in clear)
    elif color == _GRAY and depth < 8:
        (gray,) = struct.unpack_from(">H", _chunk_data(data, b"tRNS"))
        highest = (1 << depth) - 1
        image.info["transparency"] = (gray & highest) * 255 // highest
    elif color == _GRAY and depth == 8:
        image.info["transparency"] = clear & 0xFF


def as_stored(image: Image.Image, data: bytes) -> Image.Image:
    """Returns a decoded PNG in its own mode, with its clear color as alpha if need be.

    Pillow keeps the upper bytes of RGB of 16 bits, but compares all 16 bits with the
    clear color.
    """
    if image.mode != pixel_mode(image, data):
        return image.convert(pixel_mode(image, data))
    clear = image.info.get("transparency")
    if image.mode != "RGB" or data[24] != 16 or not isinstance(clear, tuple):
        return image
    with Image.open(io.BytesIO(plain_png(data)), formats=("PNG",)) as again:
        # Read as little-endian, the upper byte is the lower one.
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        lower = np.asarray(again)
    upper = np.asarray(image)
    is_clear = np.ones(upper.shape[:2], np.bool_)
    for channel, value in enumerate(clear):
        is_clear &= upper[..., channel] == value >> 8
        is_clear &= lower[..., channel] == value & 0xFF
    result = image.copy()
    del result.info["transparency"]
    result.putalpha(Image.fromarray(np.where(is_clear, 0, 255).astype(np.uint8)))
    return result


def _chunk_data(data: bytes, name: bytes) -> memoryview:
    return next(chunk.data for chunk in _chunks(data) if chunk.name == name)
