"""Tests which `nclx` of an AVIF counts: real files, and boxes by ISO/IEC 23008-12."""

import contextlib
import struct

import pytest
from image_files import file_of, noisy, smooth, with_alpha

from beam_jobs.encoding.color.boxes import color_codes

SRGB_NCLX = b"colrnclx\0\1\0\x0d"


def nclx(primaries: int, transfer: int) -> bytes:
    return b"colrnclx" + struct.pack(">2H", primaries, transfer)


def box(name: bytes, *parts: bytes, long: bool = False) -> bytes:
    body = b"".join(parts)
    if long:
        return struct.pack(">I4sQ", 1, name, 16 + len(body)) + body
    return struct.pack(">I4s", 8 + len(body), name) + body


def color(primaries: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">3HB", primaries, 13, 0, 128))


def still(*, wide: bool, primary: int = 2, long: bool = False) -> bytes:
    """Returns the boxes of three items, each with a color of its own."""
    items = [(1, [1, 2]), (2, [1, 3]), (3, [4])]
    item, index = (">IB", ">H") if wide else (">HB", ">B")
    entries = b"".join(
        struct.pack(item, name, len(found))
        + b"".join(struct.pack(index, number) for number in found)
        for name, found in items
    )
    head = bytes([wide, 0, 0, wide]) + struct.pack(">I", len(items))
    pitm = bytes([wide, 0, 0, 0]) + struct.pack(">I" if wide else ">H", primary)
    size = box(b"ispe", bytes(12))
    properties = box(b"ipco", size, color(9), color(12), color(5))
    parts = box(b"iprp", properties, box(b"ipma", head, entries))
    meta = box(b"meta", bytes(4), box(b"pitm", pitm), parts, long=long)
    return box(b"ftyp", b"avif", bytes(4)) + meta


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("primary", "expected"), [(1, (9, 13)), (2, (12, 13)), (3, (5, 13)), (4, None)]
)
def test_the_color_of_the_primary_item_counts(wide, long, primary, expected):
    assert color_codes(still(wide=wide, primary=primary, long=long)) == expected


def test_the_color_of_a_real_file_is_found():
    for image in (smooth(), with_alpha(smooth())):
        data = file_of(image, "AVIF")
        assert color_codes(data) == (1, 13)
        assert color_codes(data.replace(SRGB_NCLX, nclx(12, 4))) == (12, 4)


def test_the_color_of_an_animation_is_that_of_its_track():
    data = file_of(smooth(), "AVIF", save_all=True, append_images=[noisy(40, 60)])
    assert data[8:12] == b"avis"
    assert data.count(SRGB_NCLX) == 2
    offset = data.rindex(SRGB_NCLX)
    changed = data[:offset] + nclx(9, 13) + data[offset + len(SRGB_NCLX) :]
    assert color_codes(changed) == (9, 13)


@pytest.mark.parametrize("kind", ["still", "animation"])
def test_damage_is_noticed_as_such(kind):
    second = {"save_all": True, "append_images": [noisy(40, 60)]}
    data = file_of(smooth(), "AVIF", **(second if kind == "animation" else {}))
    for offset in range(min(len(data), 1200)):
        for value in (0, 1, 255):
            broken = data[:offset] + bytes([value]) + data[offset + 1 :]
            with contextlib.suppress(struct.error, LookupError):
                color_codes(broken)
        with contextlib.suppress(struct.error, LookupError):
            color_codes(data[:offset])
