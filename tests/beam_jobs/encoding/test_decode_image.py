"""Tests the EXIF orientation of image files, and the detection of damage."""

import dataclasses
import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    AS_BUILT,
    FINEST,
    JPEG_LOSS,
    MAX_PIXELS,
    distance,
    encode,
    file_of,
    noisy,
    oriented,
    pixels_of,
    png,
    rejection,
    smooth,
    with_alpha,
)
from jpeg_files import SQUARES, oddly_sampled_jpeg
from PIL import Image, ImageOps

from beam_jobs.elements import BadInput
from beam_jobs.encoding.decode_image import ImageFile
from reader.contract.rejects import REASONS

# `configure_codecs` ignores these warnings, but pytest resets filters for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


# Orientation.


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_applied_in_every_format_that_has_one(format, orientation):
    data = oriented(smooth(), format, orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    stored = encode(data)
    assert (stored.height, stored.width) == expected.shape[:2]
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS


def test_metadata_beyond_reading_leaves_the_picture_as_it_is():
    data = file_of(smooth(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff")
    assert encode(data).actions == ()


PHOTOGRAPHS = [f"{way}_{n}.jpg" for way in ("Landscape", "Portrait") for n in range(9)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_of_every_orientation_stand_upright(shared_data: Path, name: str):
    file = shared_data / "images" / "exif_orientation" / name
    if not file.exists():
        pytest.skip(f"{file}: this test image is not available")
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    size = (384, 256) if name.startswith("Landscape") else (256, 384)
    expected = np.asarray(upright.resize(size, Image.Resampling.BOX))
    spec = dataclasses.replace(FINEST, resize="shorter_side", size=256)
    stored = encode(file.read_bytes(), spec)
    found = pixels_of(stored.data)
    assert found.shape == expected.shape
    # With a wrong orientation, the mean difference is more than 20.
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert ("oriented" in stored.actions) == (name[-5] in "2345678")


# Damaged JPEGs.


JPEGS = {
    "baseline": file_of(noisy(), "JPEG"),
    "progressive": file_of(noisy(), "JPEG", progressive=True),
    "optimized": file_of(noisy(), "JPEG", optimize=True, quality=97),
    "restarts": file_of(noisy(), "JPEG", restart_marker_rows=1),
    "4:4:4": file_of(noisy(), "JPEG", subsampling=0),
    "gray": file_of(noisy().convert("L"), "JPEG"),
    "CMYK": file_of(noisy().convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_short_is_refused_at_any_length(kind):
    data = JPEGS[kind]
    lengths = random.Random(0).sample(range(len(data)), 150)
    for length in {*lengths, *range(len(data) - 8, len(data))}:
        error = rejection(data[:length])
        assert error.reason in ("not_an_image", "damaged_image"), length


@pytest.mark.parametrize(
    "kind", ["baseline", "optimized", "restarts", "4:4:4", "gray", "CMYK"]
)
def test_a_jpeg_cut_short_and_closed_again_is_refused(kind):
    data = JPEGS[kind]
    scan = data.index(b"\xff\xda") + 64
    for length in random.Random(1).sample(range(scan, len(data) - 64), 40):
        error = rejection(data[:length] + b"\xff\xd9")
        assert error.reason == "damaged_image"


def test_a_jpeg_of_odd_sampling_is_read():
    expected = np.kron(SQUARES, np.ones((8, 8)))[..., None].repeat(3, axis=2)
    stored = encode(oddly_sampled_jpeg(SQUARES))
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="Pillow decodes this subsampling and ignores libjpeg's warnings",
)
def test_a_jpeg_of_odd_sampling_cut_short_and_closed_again_is_refused():
    rejection(oddly_sampled_jpeg(SQUARES)[:-30] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["baseline", "optimized", "4:4:4", "gray"])
def test_a_jpeg_with_a_large_hole_is_refused(kind):
    # libjpeg detects four in five holes that are smaller than a block of pixels.
    data = JPEGS[kind]
    scan = data.index(b"\xff\xda") + 80
    assert rejection(data[:scan] + data[-80:]).reason == "damaged_image"


@pytest.mark.parametrize("more", [b"\0" * 40, b"trailer of a camera", b"\xff\xd8\xff"])
def test_what_follows_the_end_of_a_jpeg_is_no_damage(more):
    assert encode(JPEGS["baseline"] + more).data == encode(JPEGS["baseline"]).data


def test_stray_bytes_before_the_first_scan_of_a_jpeg_are_benign():
    data = JPEGS["baseline"]
    tables = data.index(b"\xff\xdb")
    assert encode(data[:tables] + b"\0\1\2" + data[tables:]).data == encode(data).data


# Damaged PNGs.


def test_a_png_of_a_palette_that_lacks_it_is_damaged():
    row = (b"IDAT", zlib.compress(b"\0\0\1" * 2))
    assert rejection(png((2, 2, 8, 3, 0), row)).reason == "damaged_image"


def idat_of(data: bytes) -> tuple[int, int]:
    """Returns the byte offsets where a PNG's IDAT data begins and ends."""
    begin = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[begin - 8 : begin - 4])
    return begin, begin + length


@pytest.mark.parametrize(
    "data",
    [
        file_of(noisy(), "PNG"),
        file_of(noisy(), "PNG", compress_level=0),
        file_of(noisy().quantize(16), "PNG"),
        file_of(noisy().convert("L"), "PNG"),
        file_of(with_alpha(noisy()), "PNG"),
    ],
    ids=["color", "stored", "palette", "gray", "alpha"],
)
def test_a_png_cut_short_is_refused_at_any_length(data):
    lengths = random.Random(2).sample(range(len(data)), 150)
    for length in {*lengths, *range(len(data) - 25, len(data))}:
        error = rejection(data[:length])
        assert error.reason in ("not_an_image", "damaged_image")


def test_a_png_whose_pixels_do_not_match_their_checksum_is_refused():
    data = bytearray(file_of(noisy(), "PNG"))
    data[idat_of(bytes(data))[1]] ^= 1
    assert rejection(bytes(data)).reason == "damaged_image"


# Damage in any format.


@pytest.mark.parametrize(
    "data",
    [file_of(noisy(), "PNG"), file_of(noisy().quantize(16), "GIF")],
    ids=["PNG", "GIF"],
)
def test_a_file_that_lacks_its_very_end_is_refused(data):
    rejection(data[:-1])


ANY_FORMAT = {
    "JPEG": file_of(noisy(), "JPEG"),
    "PNG": file_of(noisy(), "PNG"),
    "palette PNG": file_of(noisy().quantize(16), "PNG"),
    "WebP": file_of(noisy(), "WEBP"),
    "lossless WebP": file_of(noisy(), "WEBP", lossless=True),
    "GIF": file_of(noisy().quantize(64), "GIF"),
    "BMP": file_of(noisy(), "BMP"),
    "TIFF": file_of(noisy(), "TIFF"),
    "TIFF of deflate": file_of(noisy(), "TIFF", compression="tiff_deflate"),
    "TIFF of JPEG": file_of(noisy(), "TIFF", compression="jpeg"),
    "AVIF": file_of(noisy(), "AVIF"),
    "animation": file_of(
        noisy().quantize(16), "GIF", save_all=True, append_images=[smooth()]
    ),
}


@pytest.mark.parametrize("kind", ANY_FORMAT)
def test_a_file_cut_short_is_refused_or_whole(kind):
    data = ANY_FORMAT[kind]
    whole = encode(data).data
    for length in random.Random(3).sample(range(len(data)), 80):
        try:
            stored = encode(data[:length])
        except BadInput as error:
            assert error.reason in ("not_an_image", "damaged_image")
        else:
            # Only the first frame of an animation is checked.
            assert stored.data == whole, length


@pytest.mark.parametrize("kind", ANY_FORMAT)
def test_damage_of_any_kind_is_decoded_or_refused_and_nothing_else(kind):
    rng = random.Random(4)
    for _ in range(250):
        data = bytearray(ANY_FORMAT[kind])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            stored = encode(bytes(data), AS_BUILT, max_pixels=200_000)
        except BadInput as error:
            assert error.reason in REASONS
        else:
            assert pixels_of(stored.data).shape == (stored.height, stored.width, 3)


@pytest.mark.parametrize(
    "error", [MemoryError("no"), OSError("out of memory error when reading image file")]
)
def test_want_of_memory_is_no_property_of_an_image(error, monkeypatch):
    source = ImageFile(file_of(smooth(), "PNG"), max_pixels=MAX_PIXELS)

    def load() -> None:
        raise error

    monkeypatch.setattr(source._image, "load", load)
    with pytest.raises(MemoryError):
        source.decode(1)
