"""Tests BMPs of all kinds against arithmetic. A kind is read right, or rejected."""

import dataclasses
import itertools
import struct

import imagecodecs
import numpy as np
import pytest
from image_files import FINEST, encode, file_of, rejection, smooth

from beam_jobs.elements import BadInput

RAW = dataclasses.replace(FINEST, format="raw")
HEIGHT, WIDTH = 9, 13
HEADERS = (40, 52, 56, 108, 124)
RLE8, RLE4, BIT_FIELDS = 1, 2, 3


def stored(data: bytes) -> np.ndarray:
    image = encode(data, RAW)
    found = np.frombuffer(image.data, np.uint8)
    return found.reshape(image.height, image.width, 3)


def bmp(
    rows: bytes,
    bits: int,
    *,
    header: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    number: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    upside_down: bool = True,
) -> bytes:
    width, height = size
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = height if upside_down else -height
        info = struct.pack("<IiiHHI", header, width, signed, 1, bits, compression)
        info += struct.pack("<IiiII", len(rows), 2835, 2835, number, 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0")
    begin = 14 + len(info) + len(palette)
    head = b"BM" + struct.pack("<IHHI", begin + len(rows), 0, 0, begin)
    return head + info + palette + rows


def rows_of(values: np.ndarray, bits: int, *, upside_down: bool = True) -> bytes:
    packed = b""
    for row in values[::-1] if upside_down else values:
        if bits >= 8:
            line = row.astype(f"<u{bits // 8}").tobytes()
        else:
            single = (row[:, None] >> np.arange(bits)[::-1]) & 1
            line = np.packbits(single.ravel().astype(np.uint8)).tobytes()
        packed += line.ljust(-(-len(line) // 4) * 4, b"\0")
    return packed


def entries(palette: np.ndarray, header: int) -> bytes:
    end = b"" if header == 12 else b"\0"
    return b"".join(bytes(color[::-1].astype(np.uint8)) + end for color in palette)


RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (256, 3))


@pytest.mark.parametrize("header", [12, *HEADERS])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("upside_down", [True, False])
def test_a_palette_is_read(header, bits, upside_down):
    if header == 12 and not upside_down:
        pytest.skip("this header has no sign")
    index = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    rows = rows_of(index, bits, upside_down=upside_down)
    palette = entries(COLORS[: 2**bits], header)
    data = bmp(rows, bits, header=header, palette=palette, upside_down=upside_down)
    assert (stored(data) == COLORS[index]).all()
    if header == 40 and bits == 8:
        assert (imagecodecs.bmp_decode(data) == COLORS[index]).all()


LAYOUTS = {
    "565": ((0xF800, 0x7E0, 0x1F), 16),
    "555": ((0x7C00, 0x3E0, 0x1F), 16),
    "444": ((0xF00, 0xF0, 0xF), 16),
    "1555": ((0x7C00, 0x3E0, 0x1F, 0x8000), 16),
    "4444": ((0xF00, 0xF0, 0xF, 0xF000), 16),
    "BGRA": ((0xFF0000, 0xFF00, 0xFF, 0xFF000000), 32),
    "BGRX": ((0xFF0000, 0xFF00, 0xFF, 0), 32),
    "RGBX": ((0xFF, 0xFF00, 0xFF0000, 0), 32),
    "RGBA": ((0xFF, 0xFF00, 0xFF0000, 0xFF000000), 32),
    "ABGR": ((0xFF000000, 0xFF0000, 0xFF00, 0xFF), 32),
    "XBGR": ((0xFF000000, 0xFF0000, 0xFF00, 0), 32),
    "1010102": ((0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), 32),
}


def channel_of(values: np.ndarray, mask: int) -> np.ndarray:
    shift = (mask & -mask).bit_length() - 1
    return ((values & mask) >> shift) * 255 / (mask >> shift)


@pytest.mark.parametrize(
    ("layout", "header", "upside_down", "compression"),
    [*itertools.product(LAYOUTS, HEADERS, [True, False], [BIT_FIELDS, 6])],
)
def test_bit_fields_are_read_or_unsupported(layout, header, upside_down, compression):
    masks, bits = LAYOUTS[layout]
    if header < 56 and compression == BIT_FIELDS:
        masks = masks[:3]  # Shorter headers have no mask for alpha.
    values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    rows = rows_of(values, bits, upside_down=upside_down)
    # With the shortest header, masks lie behind it.
    data = bmp(
        rows,
        bits,
        header=header,
        compression=compression,
        masks=masks,
        upside_down=upside_down,
    )
    color = np.stack([channel_of(values, mask) for mask in masks[:3]], axis=-1)
    clear = len(masks) > 3 and masks[3]
    alpha = channel_of(values, masks[3])[..., None] / 255 if clear else 1
    try:
        found = stored(data)
    except BadInput as error:
        assert error.reason == "unsupported_image"
        assert layout not in ("565", "555", "BGRA", "BGRX", "ABGR") or compression == 6
    else:
        assert np.abs(found - (color * alpha + 255 * (1 - alpha))).max() <= 1.5


def test_16_bits_that_are_all_opaque_are_read():
    values = RNG.integers(0, 2**15, (HEIGHT, WIDTH)) | 0x8000
    masks, bits = LAYOUTS["1555"]
    data = bmp(
        rows_of(values, bits),
        bits,
        header=124,
        compression=BIT_FIELDS,
        masks=masks,
    )
    color = np.stack([channel_of(values, mask) for mask in masks[:3]], axis=-1)
    assert np.abs(stored(data) - color).max() <= 1.5


def test_alpha_that_is_zero_everywhere_is_clear_as_in_browsers():
    values = RNG.integers(0, 2**24, (HEIGHT, WIDTH))
    masks, bits = LAYOUTS["BGRA"]
    data = bmp(
        rows_of(values, bits),
        bits,
        header=108,
        compression=BIT_FIELDS,
        masks=masks,
    )
    assert (stored(data) == 255).all()


def literal_runs(index: np.ndarray, *, is_rle4: bool) -> bytes:
    """Returns rows of literal runs, each with an even number of bytes."""
    data = b""
    for row in index[::-1]:
        line = bytes(row.astype(np.uint8))
        if is_rle4:
            pairs = itertools.zip_longest(line[::2], line[1::2], fillvalue=0)
            line = bytes(high << 4 | low for high, low in pairs)
        data += bytes([0, len(row)]) + line + bytes(len(line) % 2) + b"\0\0"
    return data + b"\0\1"


@pytest.mark.parametrize("width", range(3, 14))
@pytest.mark.parametrize("compression", [RLE8, RLE4])
def test_run_lengths_are_read_or_unsupported(width, compression):
    is_rle4 = compression == RLE4
    index = RNG.integers(0, 16 if is_rle4 else 256, (HEIGHT, width))
    data = bmp(
        literal_runs(index, is_rle4=is_rle4),
        4 if is_rle4 else 8,
        compression=compression,
        palette=entries(COLORS[: 16 if is_rle4 else 256], 40),
        size=(width, HEIGHT),
    )
    if is_rle4 and width % 2:
        assert "odd literal runs" in rejection(data).detail
    else:
        assert (stored(data) == COLORS[index]).all()


@pytest.mark.parametrize(
    "runs",
    [
        b"\2\5\0\2\4\3\2\7\0\1",
        b"\x08\5\0\0\2\6\0\0\x08\7\0\0\x08\7\0\1",
        b"\x08\5\0\0\0\0\x08\7\0\0\x08\7\0\1",
    ],
    ids=["by a delta", "at the end of a row", "a whole row"],
)
def test_skipped_pixels_have_no_color(runs):
    data = bmp(runs, 8, compression=RLE8, palette=entries(COLORS, 40), size=(8, 4))
    error = rejection(data)
    assert error.reason == "unsupported_image"
    assert "skips pixels" in error.detail


def test_random_headers_are_refused_and_nothing_else():
    data = file_of(smooth(9, 7), "BMP")
    for place, value in itertools.product(range(14, 70), (0, 1, 2, 127, 128, 255)):
        broken = data[:place] + bytes([value]) + data[place + 1 :]
        try:
            stored(broken)
        except BadInput as error:
            assert error.reason in (
                "unsupported_image",
                "damaged_image",
                "too_many_pixels",
            )
