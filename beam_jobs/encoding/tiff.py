"""Checks the directories of a TIFF before Pillow reads them.

The checks reject a TIFF that points beyond the end of the file, that requests more
memory than an image needs, or whose kind of pixels Pillow misreads.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.elements import BadInput

# Size in bytes of each value type, and the `struct` codes of the integer types.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

# Tags that point to further directories, and tags with the (offsets, byte counts) of
# pixels: strips, tiles, and old-style JPEG.
_DIRECTORIES = (330, 34665, 34853, 40965)
_PIXEL_TAGS = ((273, 279), (324, 325), (513, 514))
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

# Tags that state how pixels are stored. Source: TIFF 6.0, and Adobe's DNG 1.7.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_FILL_ORDER, _SAMPLES, _PLANAR, _COLOR_MAP = 266, 277, 284, 320
_INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _DNG_VERSION = 332, 338, 339, 50706

_WANTED = {*_DIRECTORIES, *(tag for pair in _PIXEL_TAGS for tag in pair), 322, 323}
_WANTED |= {_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES}
_WANTED |= {_PLANAR, _COLOR_MAP, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT}
_WANTED |= {_DNG_VERSION}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_PHOTOMETRICS = dict(enumerate(("WhiteIsZero", "BlackIsZero", "RGB", "palette")))
_PHOTOMETRICS |= {4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab"}
_PHOTOMETRICS |= {10: "ITULab", 32803: "CFA", 32844: "LogL", 32845: "LogLuv"}
_PHOTOMETRICS |= {34892: "LinearRaw"}

# Compressions that Pillow knows: none, CCITT, LZW, JPEG, deflate, PackBits,
# ThunderScan, SGILog, LZMA, Zstandard, WebP.
_UNCOMPRESSED, _CCITT, _WEBP = 1, (2, 3, 4), 50001
_COMPRESSIONS = {*range(1, 9), 32771, 32773, 32809, 32946, 34676, 34677}
_COMPRESSIONS |= {34925, 50000, _WEBP}
_OTHER_COMPRESSIONS = {33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000"}
_OTHER_COMPRESSIONS |= {34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG of DNG"}
_OTHER_COMPRESSIONS |= {34933: "PNG", 22610: "JPEG XR", 34934: "JPEG XR"}
_OTHER_COMPRESSIONS |= {50002: "JPEG XL", 52546: "JPEG XL", 34661: "JBIG"}

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


class TiffKind(NamedTuple):
    """How the first image of a TIFF stores its pixels.

    Attributes:
        compression: Code of the compression.
        photometric: Code of the color space, or None if the TIFF does not state it.
        bits: Bits of each sample of a pixel.
        extra: Codes of the samples besides the color: 0 is unspecified, 1 and 2 are
            alpha, premultiplied or not.
        sample_formats: Codes of the number formats. 1 is unsigned, 2 signed.
        planes_apart: Whether each sample is stored in a plane of its own.
        bits_reversed: Whether the lowest bit of a byte is its first.
        ink_set: Code of the inks. 1 is cyan, magenta, yellow and black.
        color_map: Red, green and blue values of a palette, or an empty tuple.
        is_big_endian_bigtiff: Whether numbers are big-endian, in a BigTIFF.
        raw: Kind of camera raw, or an empty string.
    """

    compression: int
    photometric: int | None
    bits: tuple[int, ...]
    extra: tuple[int, ...]
    sample_formats: frozenset[int]
    planes_apart: bool
    bits_reversed: bool
    ink_set: int
    color_map: tuple[int, ...]
    is_big_endian_bigtiff: bool
    raw: str

    def __str__(self) -> str:
        """Describes the kind, for messages."""
        bits = " + ".join(map(str, self.bits))
        color = _PHOTOMETRICS.get(self.photometric or 0, f"color {self.photometric}")
        apart = ", planes apart" if self.planes_apart else ""
        return f"TIFF of {bits} bits, {color}{apart}"

    @property
    def is_of_webp(self) -> bool:
        """Whether the pixels are compressed with WebP, which few builds support."""
        return self.compression == _WEBP

    def check(self) -> None:
        """Checks that Pillow can read pixels of this kind, and reads them correctly.

        Raises:
            BadInput: The kind is not supported.
        """
        if self.raw:
            raise BadInput("unsupported_image", f"camera raw ({self.raw})")
        if self.is_big_endian_bigtiff:
            raise BadInput("unsupported_image", "BigTIFF in big-endian byte order")
        if self.compression not in _COMPRESSIONS:
            name = _OTHER_COMPRESSIONS.get(self.compression, str(self.compression))
            raise BadInput("unsupported_image", f"TIFF of compression {name}")
        flaw = self._misread()
        if flaw:
            raise BadInput("unsupported_image", f"{self}: {flaw}")

    def _misread(self) -> str:
        """Returns what Pillow ignores when it reads this kind, or ""."""
        uncompressed = self.compression == _UNCOMPRESSED
        if self.photometric is None and self.compression not in _CCITT:
            return "PhotometricInterpretation is missing"
        if self.photometric == _CMYK and self.ink_set != 1:
            return "inks other than CMYK"
        if 2 in self.sample_formats and self.bits[0] == 8:
            return "signed numbers"
        if uncompressed and self.photometric == _YCBCR:
            return "uncompressed YCbCr"
        if self.planes_apart and not self._reads_planes(uncompressed):
            return "planes of this kind"
        return ""

    def _reads_planes(self, uncompressed: bool) -> bool:
        """Returns whether Pillow reads planes of this kind."""
        if len(self.bits) == 1:
            return True
        has_color = self.photometric in (_RGB, _CMYK, _YCBCR)
        if not uncompressed:
            return not any(self.extra) or (has_color and len(self.extra) == 1)
        if self.bits_reversed or self.extra not in ((), (2,)):
            return False
        return has_color and set(self.bits) == {8}

    @property
    def _is_deep_white(self) -> bool:
        """Whether WhiteIsZero pixels have more bits than Pillow inverts."""
        return self.photometric == _WHITE_IS_ZERO and self.bits[0] > 8

    def readable(self, data: bytes) -> bytes:
        """Returns a TIFF that Pillow reads like this one, except for `corrected`.

        Pillow reads deep WhiteIsZero in one byte order only and does not invert it. It
        misreads a single sample that is said to have a plane of its own.
        """
        if self._is_deep_white:
            data = _with_tag(data, _PHOTOMETRIC, _WHITE_IS_ZERO, _BLACK_IS_ZERO)
        if self.planes_apart and len(self.bits) == 1:
            data = _with_tag(data, _PLANAR, 2, 1)
        return data

    def corrected(self, image: Image.Image) -> Image.Image:
        """Returns a decoded image with what Pillow leaves to its caller.

        Gray of 12 bits is scaled to 16, WhiteIsZero of 16 bits is inverted, and a
        palette of 8-bit values is read as such, as libtiff does (`checkcmap`).
        """
        if image.mode in ("P", "PA") and max(self.color_map, default=256) < 256:
            colors = np.array(self.color_map, np.uint8).reshape(3, -1)
            image.putpalette(colors.T.tobytes())
        if not image.mode.startswith("I;16"):
            return image
        if self.bits[0] == 16 and not self._is_deep_white:
            return image
        deep = np.asarray(image).astype(np.uint16) << (16 - self.bits[0])
        result = Image.fromarray(~deep if self._is_deep_white else deep)
        result.info = image.info
        return result


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


def has_sound_directories(data: bytes) -> bool:
    """Returns whether the values of all directories are inside the data, unshared."""
    try:
        return bool(list(_directories(data)))
    except BadInput:
        return False


def read_tiff_kind(data: bytes, *, max_pixels: int) -> TiffKind:
    """Returns the kind of the first image, and checks the memory that it requests.

    Raises:
        BadInput: A tile is too large, the directory has too many values, or it is
            truncated.
    """
    directory = next(_directories(data), {})
    _check_tiles(directory, max_pixels=max_pixels)

    def first(tag: int, default: int) -> int:
        return next(iter(directory.get(tag, ())), default)

    samples = first(_SAMPLES, 1)
    bits = directory.get(_BITS, ()) or (1,)
    raw = "DNG" if _DNG_VERSION in directory else ""
    if data[8:10] == b"CR":
        raw = "CR2"
    elif not raw and first(_SUBFILE, 0) & 1 and 330 in directory:
        raw = "NEF, ARW or another TIFF whose first image is a preview"
    return TiffKind(
        compression=first(_COMPRESSION, _UNCOMPRESSED),
        photometric=first(_PHOTOMETRIC, -1) if _PHOTOMETRIC in directory else None,
        # One number may stand for all samples. Further numbers have no samples.
        bits=(bits * min(samples, 8) if len(bits) == 1 else bits)[:samples] or bits,
        extra=directory.get(_EXTRA_SAMPLES, ()),
        sample_formats=frozenset(directory.get(_SAMPLE_FORMAT, ())),
        planes_apart=first(_PLANAR, 1) == 2,
        bits_reversed=first(_FILL_ORDER, 1) == 2,
        ink_set=first(_INK_SET, 1),
        color_map=directory.get(_COLOR_MAP, ()),
        is_big_endian_bigtiff=data[:4] == b"MM\0+",
        raw=raw,
    )


def _check_tiles(directory: _Directory, *, max_pixels: int) -> None:
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
        layout, first = _layout_of(data)
        waiting = [first]
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


def _layout_of(data: bytes) -> tuple[_Layout, int]:
    """Returns the layout, and the offset of the first directory."""
    layout = _Layout(
        "<" if data[:2] == b"II" else ">",
        43 in (data[2], data[3]) and len(data) > 8,
    )
    return layout, layout.offset.unpack_from(data, 8 if layout.big else 4)[0]


def _with_tag(data: bytes, tag: int, old: int, new: int) -> bytes:
    """Returns a TIFF with another 16-bit value of a tag of its first directory."""
    layout, first = _layout_of(data)
    kind = struct.pack(layout.order + ("HHQ" if layout.big else "HHI"), tag, 3, 1)
    before, after = (kind + struct.pack(layout.order + "H", n) for n in (old, new))
    at = data.find(before, first)
    return data if at < 0 else data[:at] + after + data[at + len(after) :]


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
