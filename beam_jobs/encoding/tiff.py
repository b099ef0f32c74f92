"""TIFF: its directories, walked before Pillow reads them.

Whether all that they point to lies inside the file, and whether they ask for more
memory than an image needs.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from beam_jobs.elements import BadInput

# Bytes of each type of value, and how whole numbers among them are unpacked.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

# Tags that point to more directories, and those that say where pixels lie and how many
# bytes they take: strips, tiles, and old-style JPEG.
_DIRECTORIES = (330, 34665, 34853, 40965)
_PLACES = ((273, 279), (324, 325), (513, 514))
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

_WANTED = {*_DIRECTORIES, *(tag for pair in _PLACES for tag in pair), 322, 323}

# An image of 100 million pixels has some 100,000 strips; each number takes Python 40
# bytes. This is for all directories, one after the other.
_MOST_VALUES = 1 << 21


class _Layout(NamedTuple):
    """How numbers are laid out: classic TIFF, or BigTIFF."""

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


# The values of a directory's tags that matter here.
_Directory = dict[int, tuple[int, ...]]


def check_tiff(data: bytes) -> None:
    """Checks that all directories, their values and all pixels lie inside the file.

    Raises:
        BadInput: They do not.
    """
    for directory in _directories(data):
        for places, lengths in _PLACES:
            pairs = zip(
                directory.get(places, ()), directory.get(lengths, ()), strict=False
            )
            if any(place + length > len(data) for place, length in pairs):
                raise _cut()


def check_tiff_memory(data: bytes, *, max_pixels: int) -> None:
    """Checks that no tag of the first directory asks for absurd amounts of memory.

    Raises:
        BadInput: One does, or the directory is not whole.
    """
    directory = next(_directories(data), {})
    sides = (directory.get(tag, (1,)) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    width, height = (side[0] if side else 1 for side in sides)
    # A tile is at least as large as a block of 16 × 16, however small the image is.
    if width * height > max(max_pixels, 1 << 16):
        raise BadInput(
            "too_many_pixels", f"tiles of {width} × {height}, more than {max_pixels}"
        )


def _directories(data: bytes) -> Iterator[_Directory]:
    """Yields each directory once; raises `BadInput` where one is not whole."""
    try:
        layout = _Layout(
            "<" if data[:2] == b"II" else ">",
            43 in (data[2], data[3]) and len(data) > 8,
        )
        waiting = [layout.offset.unpack_from(data, 8 if layout.big else 4)[0]]
        seen: set[int] = set()
        num_values = 0
        while waiting:
            place = waiting.pop()
            if not place or place in seen:
                continue
            seen.add(place)
            directory, following = _read_directory(data, place, layout)
            num_values += 20 + sum(map(len, directory.values()))
            if num_values > _MOST_VALUES:
                raise BadInput("unsupported_image", "TIFF of too many strips or pages")
            yield directory
            waiting += [
                following,
                *(p for t in _DIRECTORIES for p in directory.get(t, ())),
            ]
    except (struct.error, IndexError) as error:
        raise _cut() from error


def _read_directory(data: bytes, place: int, layout: _Layout) -> tuple[_Directory, int]:
    """Returns a directory, and where the next one lies, 0 if nowhere."""
    if place >= len(data):  # `struct` fails otherwise on what no memory could hold.
        raise _cut()
    (number,) = layout.number.unpack_from(data, place)
    place += layout.number.size
    end = place + number * layout.entry.size
    (following,) = layout.offset.unpack_from(data, end)
    directory: _Directory = {}
    num_bytes = 0
    for tag, kind, count, value in layout.entry.iter_unpack(data[place:end]):
        size = _SIZES.get(kind, 0) * count
        num_bytes += size
        if num_bytes > len(data):  # Pillow would make a copy of each.
            raise BadInput(
                "damaged_image", "TIFF with values beyond the file or shared"
            )
        if size > len(value):
            (begin,) = layout.offset.unpack(value)
            if begin + size > len(data):
                raise _cut()
        if kind in _CODES and tag in _WANTED and count <= _MOST_VALUES:
            code = f"{layout.order}{count}{_CODES[kind]}"
            source, where = (data, begin) if size > len(value) else (value, 0)
            directory[tag] = struct.unpack_from(code, source, where)
        elif tag in _WANTED and count > _MOST_VALUES:
            raise BadInput("unsupported_image", f"TIFF tag {tag} of {count} values")
    return directory, following


def _cut() -> BadInput:
    return BadInput(
        "damaged_image", "TIFF that points beyond its end: it was cut short"
    )
