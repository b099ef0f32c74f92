"""Tests that hostile metadata takes neither memory nor time out of proportion."""

import struct
import tracemalloc
import zlib

import pytest
from image_files import ORIENTATION, encode, file_of, png_chunk, rejection, smooth
from PIL import Image

MEGABYTE = 1 << 20
EXIF = b"Exif\0\0"


def exif_of_one_value(num_entries: int, num_bytes: int) -> bytes:
    """Returns EXIF data whose entries share one long value."""
    entries = [(1000 + n, 7, num_bytes - 8, 8) for n in range(num_entries)]
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    directory = struct.pack("<H", len(entries)) + fields + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(num_bytes, b"\0")


def write(format: str, exif: bytes) -> bytes:
    if format != "JPEG":
        return file_of(smooth(), format, exif=EXIF + exif)
    data = file_of(smooth(), format)
    parts = [EXIF + exif[n : n + 65_000] for n in range(0, len(exif), 65_000)]
    segments = (b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    return data[:2] + b"".join(segments) + data[2:]


FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")


@pytest.mark.parametrize("format", FORMATS)
def test_exif_takes_memory_in_proportion_to_its_length(format):
    data = write(format, exif_of_one_value(2_000, MEGABYTE // 4))
    tracemalloc.start()
    encoded = encode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * MEGABYTE
    assert encoded.data == encode(file_of(smooth(), format)).data


@pytest.mark.parametrize("format", FORMATS)
def test_an_orientation_in_large_exif_is_applied(format):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x927C] = b"a camera's notes" * 20_000
    encoded = encode(write(format, exif.tobytes().removeprefix(EXIF)))
    assert (encoded.height, encoded.width) == (60, 40)


def test_many_packed_texts_are_no_reason_to_lose_a_picture():
    data = file_of(smooth(), "PNG")
    xmp = b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(4_000_000))
    profile = b"profile\0\0" + zlib.compress(bytes(4_000_000))
    chunks = [png_chunk(b"zTXt", xmp), png_chunk(b"iCCP", profile)]
    crowded = data[:33] + b"".join(chunks) * 100 + data[33:]
    assert encode(crowded).data == encode(data).data


def test_a_million_parts_are_unsupported():
    png, jpeg = file_of(smooth(), "PNG"), file_of(smooth(), "JPEG")
    chunks = png[:33] + png_chunk(b"prVt", b"") * 1_000_000 + png[33:]
    comments = jpeg[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg[2:]
    for data, what in (chunks, "1000000 chunks"), (comments, "100000 segments"):
        error = rejection(data)
        assert error.reason == "unsupported_image"
        assert what in error.detail
