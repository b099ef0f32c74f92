"""Reads the color of AVIF and HEIF from their boxes; Pillow reports ICC profiles only.

Source: ISO/IEC 14496-12 (boxes, `colr` in section 12.1.5) and ISO/IEC 23008-12 (items
and their properties). Time and memory are bounded by the length of the file.
"""

import struct
from collections.abc import Iterator

# Path to the sample descriptions of a track, and the length of a visual sample entry
# before its boxes.
_TO_SAMPLES = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_VISUAL_SAMPLE_ENTRY = 78

# Type and content.
_Box = tuple[bytes, memoryview]
_NONE = memoryview(b"")


def color_codes(data: bytes) -> tuple[int, int] | None:
    """Returns the code points of H.273 in the `nclx` of a file's image, or None.

    That is the primary item, or the first track of an animation.

    Returns:
        (primaries, transfer).

    Raises:
        struct.error, LookupError: A box is damaged.
    """
    top = dict(_boxes(memoryview(data)))
    if data[8:12] == b"avis" and b"moov" in top:
        properties = _of_first_track(top[b"moov"])
    elif b"meta" in top:
        properties = _of_primary_item(top[b"meta"][4:])
    else:
        return None
    for name, content in properties:
        if name == b"colr" and bytes(content[:4]) == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            return primaries, transfer
    return None


def _boxes(data: memoryview) -> Iterator[_Box]:
    """Yields (type, content) of each box."""
    offset = 0
    while offset + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, offset)
        begin = offset + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        end = offset + size if size else len(data)
        if end < begin:
            return
        yield name, data[begin:end]
        offset = end


def _of_first_track(content: memoryview) -> list[_Box]:
    for name in _TO_SAMPLES:
        content = next((box for found, box in _boxes(content) if found == name), _NONE)
    # A version and a count precede the entries.
    _, entry = next(_boxes(content[8:]), (b"", _NONE))
    return list(_boxes(entry[_VISUAL_SAMPLE_ENTRY:]))


def _of_primary_item(meta: memoryview) -> list[_Box]:
    boxes = dict(_boxes(meta))
    pitm = boxes[b"pitm"]
    (primary,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    parts = list(_boxes(boxes[b"iprp"]))
    properties = list(_boxes(dict(parts)[b"ipco"]))
    # Indices count from 1; 0 is no property.
    return [
        properties[index - 1]
        for name, content in parts
        if name == b"ipma"
        for item, index in _associations(content)
        if item == primary and 0 < index <= len(properties)
    ]


def _associations(content: memoryview) -> Iterator[tuple[int, int]]:
    """Yields (item, index of a property) of an item property association box."""
    version, flags, number = struct.unpack_from(">B2xBI", content)
    item_layout = struct.Struct(">IB" if version else ">HB")
    index_layout, mask = ("H", 0x7FFF) if flags & 1 else ("B", 0x7F)
    offset = 8
    for _ in range(number):
        item, count = item_layout.unpack_from(content, offset)
        offset += item_layout.size
        indices = struct.unpack_from(f">{count}{index_layout}", content, offset)
        offset += struct.calcsize(f">{count}{index_layout}")
        yield from ((item, index & mask) for index in indices)
