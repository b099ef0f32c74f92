"""Tests format detection, unreadable headers, and size limits before decoding."""

import random
import re
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import MAX_PIXELS, encode, file_of, png, rejection, smooth, tiff_header
from image_kinds import FILES
from PIL import Image

from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import SourceImage

# `configure_codecs` ignores these warnings, but pytest resets filters for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("color JPEG", "jpeg"),
        ("color JPEG and more pictures", "jpeg"),
        ("color PNG", "png"),
        ("color WebP", "webp"),
        ("color AVIF", "avif"),
        ("color BMP", "bmp"),
        ("color TIFF", "tiff"),
        ("palette GIF", "gif"),
    ],
)
def test_the_format_is_detected_from_the_content(name, format):
    data = next(data for known, data, _ in FILES if known == name)
    assert SourceImage(data, max_pixels=MAX_PIXELS).format == format
    assert encode(data).source_format == format


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


NO_IMAGES = {
    "empty": b"",
    "one byte": b"\xff",
    "random": random.Random(5).randbytes(5000),
    "HTML": HTML,
    "text": "ein Bild, wörtlich".encode(),
    "PDF": b"%PDF-1.7\n" + bytes(200),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PPM, an unsupported format": b"P6 1 1 255\n\1\2\3",
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_bytes_that_are_no_image_are_refused(kind):
    error = rejection(NO_IMAGES[kind])
    assert error.reason == "not_an_image"
    if NO_IMAGES[kind]:
        assert NO_IMAGES[kind][:8].hex(" ") in error.detail


HEADERS_BEYOND_READING = {
    "HTML after a JPEG's first bytes": b"\xff\xd8\xff" + HTML,
    "a PNG without height": png((5, 0, 8, 2, 0), (b"IDAT", zlib.compress(b""))),
    "a WebP of nothing": b"RIFF\0\0\0\0WEBPVP8 ",
    "a TIFF of nothing": b"II*\0\xff\xff\xff\xff",
}


@pytest.mark.parametrize("kind", HEADERS_BEYOND_READING)
def test_a_header_beyond_reading_is_damage(kind):
    assert rejection(HEADERS_BEYOND_READING[kind]).reason == "damaged_image"


@pytest.mark.parametrize("kind", [*NO_IMAGES, *HEADERS_BEYOND_READING])
def test_a_refusal_reads_the_same_in_every_run(kind):
    data = (NO_IMAGES | HEADERS_BEYOND_READING)[kind]
    assert not re.search("0x[0-9a-f]{6,}|object at", rejection(data).detail)


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else(data):
    rejection(data, max_pixels=10_000)


UNSUPPORTED = {
    "BMP of an unknown header": b"BM" + struct.pack("<IHHII", 99, 0, 0, 54, 17),
    "TIFF of seven samples": tiff_header(9, 9).replace(
        struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 1, 5)
    ),
    "CIELab TIFF": file_of(Image.new("LAB", (8, 8)), "TIFF"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_kind_that_pillow_knows_and_does_not_read_is_unsupported(kind):
    data = UNSUPPORTED[kind] + bytes(200)
    assert rejection(data).reason == "unsupported_image"


# Too many pixels. The files below have headers and no pixels.


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def gif_header(width: int, height: int) -> bytes:
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + frame + b"\2\0;"


BOMBS = {
    "PNG": png((2**31 - 1, 2**31 - 1, 8, 2, 0)),
    "gray PNG": png((50_000, 50_000, 1, 0, 0)),
    "JPEG": jpeg_header(65_000, 65_000),
    "GIF": gif_header(65_535, 65_535),
    "BMP": bmp_header(100_000, 100_000),
    "TIFF": tiff_header(60_000, 60_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_huge_dimensions_are_refused_before_decoding(kind):
    with pytest.raises(BadInput) as caught:
        SourceImage(BOMBS[kind], max_pixels=MAX_PIXELS)
    assert caught.value.reason == "too_many_pixels"
    assert "more than 100000000" in caught.value.detail


def test_the_limit_on_pixels_is_the_largest_that_passes():
    data = file_of(smooth(40, 60), "PNG")
    assert SourceImage(data, max_pixels=2400).width == 60
    error = rejection(data, max_pixels=2399)
    assert error.reason == "too_many_pixels"
    assert "60 × 40" in error.detail
