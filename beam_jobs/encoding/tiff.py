"""Checks the directories of a TIFF before Pillow reads them.

The checks reject a TIFF that points beyond the end of the file, or that requests more
memory than an image needs.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from beam_jobs.elements import BadInput

# Size in bytes of each value type, and the `struct` codes of the integer types.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

# Tags that point to further directories, and tags with the (offsets, byte counts) of
# pixels: strips, tiles, and old-style JPEG.
_DIRECTORIES = (330, 34665, 34853, 40965)
_PIXEL_TAGS = ((273, 279), (324, 325), (513, 514))
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

_WANTED = {*_DIRECTORIES, *(tag for pair in _PIXEL_TAGS for tag in pair), 322, 323}

# Maximum number of values in all directories. An image of 100 million pixels has about
# 100,000 strips, and each number takes 40 bytes in Python.
_MAX_VALUES = 1 << 21


class _Layout(NamedTuple):
    """Layout of numbers in a classic TIFF or BigTIFF."""

    order: str
    big: bool

    @property
    def number(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))


# Values of the tags in `_WANTED`, by tag.
_Directory = dict[int, tuple[int, ...]]


def check_tiff(data: bytes) -> None:
    """Checks that all directories, their values and all pixels are inside the file.

    Raises:
        BadInput: A directory, a value or a pixel is beyond the end of the file, or the
            TIFF has too many values.
    """
    for directory in _directories(data):
        for offsets, lengths in _PIXEL_TAGS:
            pairs = zip(
                directory.get(offsets, ()), directory.get(lengths, ()), strict=False
            )
            if any(offset + length > len(data) for offset, length in pairs):
                raise _truncated()


def check_tiff_memory(data: bytes, *, max_pixels: int) -> None:
    """Checks that the first directory does not request excessive memory.

    Raises:
        BadInput: A tile is too large, the directory has too many values, or it is
            truncated.
    """
    directory = next(_directories(data), {})
    sides = (directory.get(tag, (1,)) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    width, height = (side[0] if side else 1 for side in sides)
    # A tile may be larger than a small image: its sides are multiples of 16.
    if width * height > max(max_pixels, 1 << 16):
        raise BadInput(
            "too_many_pixels", f"tiles of {width} × {height}, more than {max_pixels}"
        )


def _directories(data: bytes) -> Iterator[_Directory]:
    """Yields each directory once.

    Raises:
        BadInput: A directory is truncated, or there are too many values.
    """
    try:
        layout = _Layout(
            "<" if data[:2] == b"II" else ">",
            43 in (data[2], data[3]) and len(data) > 8,
        )
        waiting = [layout.offset.unpack_from(data, 8 if layout.big else 4)[0]]
        seen: set[int] = set()
        num_values = 0
        while waiting:
            offset = waiting.pop()
            if not offset or offset in seen:
                continue
            seen.add(offset)
            directory, following = _read_directory(data, offset, layout)
            num_values += 20 + sum(map(len, directory.values()))
            if num_values > _MAX_VALUES:
                raise BadInput("unsupported_image", "TIFF of too many strips or pages")
            yield directory
            waiting += [
                following,
                *(p for t in _DIRECTORIES for p in directory.get(t, ())),
            ]
    except (struct.error, IndexError) as error:
        raise _truncated() from error


def _read_directory(
    data: bytes, offset: int, layout: _Layout
) -> tuple[_Directory, int]:
    """Returns a directory, and the offset of the next one, or 0."""
    if offset >= len(data):  # `struct` raises OverflowError for huge offsets.
        raise _truncated()
    (number,) = layout.number.unpack_from(data, offset)
    offset += layout.number.size
    end = offset + number * layout.entry.size
    (following,) = layout.offset.unpack_from(data, end)
    directory: _Directory = {}
    num_bytes = 0
    for tag, kind, count, value in layout.entry.iter_unpack(data[offset:end]):
        size = _SIZES.get(kind, 0) * count
        num_bytes += size
        if num_bytes > len(data):  # Pillow copies shared values for each tag.
            raise BadInput(
                "damaged_image", "TIFF with values beyond the file or shared"
            )
        if size > len(value):
            (begin,) = layout.offset.unpack(value)
            if begin + size > len(data):
                raise _truncated()
        if kind in _CODES and tag in _WANTED and count <= _MAX_VALUES:
            code = f"{layout.order}{count}{_CODES[kind]}"
            source, begins_at = (data, begin) if size > len(value) else (value, 0)
            directory[tag] = struct.unpack_from(code, source, begins_at)
        elif tag in _WANTED and count > _MAX_VALUES:
            raise BadInput("unsupported_image", f"TIFF tag {tag} of {count} values")
    return directory, following


def _truncated() -> BadInput:
    return BadInput(
        "damaged_image", "TIFF that points beyond its end: it was cut short"
    )
