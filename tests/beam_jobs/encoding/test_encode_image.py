"""Tests stored images: bytes, properties, actions, limits and filters."""

import dataclasses
import hashlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from image_files import (
    AS_BUILT,
    FINEST,
    MAX_PIXELS,
    ORIENTATION,
    encode,
    file_of,
    noisy,
    oriented,
    pixels_of,
    rejection,
    smooth,
)
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import SourceImage
from reader.contract.rejects import REASONS

# `configure_codecs` ignores these warnings, but pytest resets filters for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

GPS = 0x8825


# Stored bytes.


def markers_of(jpeg: bytes) -> list[int]:
    """Returns the markers of a JPEG up to its pixels."""
    markers, place = [], 2
    while not markers or markers[-1] != 0xDA:
        assert jpeg[place] == 0xFF
        markers.append(jpeg[place + 1])
        place += 2 + struct.unpack(">H", jpeg[place + 2 : place + 4])[0]
    return markers


def files_with_metadata() -> Iterator[tuple[str, bytes]]:
    """Yields files with private metadata."""
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    exif[ORIENTATION] = 6
    exif[GPS] = {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    yield "JPEG", file_of(smooth(), "JPEG", comment=b"Secret", xmp=b"Secret", **more)
    yield "PNG", file_of(smooth(), "PNG", **more)
    yield "WebP", file_of(smooth(), "WEBP", xmp=b"Secret", **more)


WITH_METADATA = dict(files_with_metadata())


@pytest.mark.parametrize("kind", WITH_METADATA)
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_what_is_stored_is_a_plain_baseline_jpeg(kind, subsampling):
    spec = dataclasses.replace(AS_BUILT, subsampling=subsampling)
    stored = encode(WITH_METADATA[kind], spec).data
    luma = {"420": (2, 2), "444": (1, 1)}[subsampling]
    with Image.open(io.BytesIO(stored)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert image.layers == 3
        assert [layer[1:3] for layer in image.layer] == [luma, (1, 1), (1, 1)]
        assert not {"progressive", "progression"} & set(image.info)
    # APP0 (JFIF), quantization tables, baseline frame, Huffman tables, scan.
    assert set(markers_of(stored)) == {0xE0, 0xDB, 0xC0, 0xC4, 0xDA}


@pytest.mark.parametrize("kind", WITH_METADATA)
def test_nothing_of_where_and_with_what_a_picture_was_taken_is_stored(kind):
    assert b"Secret" in WITH_METADATA[kind]
    stored = encode(WITH_METADATA[kind], AS_BUILT).data
    with Image.open(io.BytesIO(stored)) as image:
        assert not dict(image.getexif())
        assert not {"exif", "icc_profile", "comment", "xmp"} & set(image.info)
    for word in (b"Secret", b"Exif", b"ICC_PROFILE", b"http:"):
        assert word not in stored


@pytest.mark.parametrize("quality", [1, 50, 90, 100])
def test_quality_is_that_of_libjpeg(quality):
    stored = encode(
        WITH_METADATA["PNG"], dataclasses.replace(AS_BUILT, quality=quality)
    ).data
    with (
        Image.open(io.BytesIO(stored)) as image,
        Image.open(io.BytesIO(file_of(smooth(), "JPEG", quality=quality))) as expected,
    ):
        assert image.quantization == expected.quantization


def test_the_same_bytes_give_the_same_bytes():
    data = file_of(noisy(300, 400), "JPEG")
    assert encode(data, AS_BUILT) == encode(data, AS_BUILT)


# Properties and actions.


def test_the_facts_of_an_image():
    data = oriented(smooth(300, 500), "JPEG", 8)
    stored = encode(data, AS_BUILT)
    assert (stored.source_format, stored.source_height, stored.source_width) == (
        "jpeg",
        300,
        500,
    )
    assert (stored.height, stored.width) == (427, 256)
    assert pixels_of(stored.data).shape == (427, 256, 3)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.actions == ("oriented", "resized", "encoded")


@pytest.mark.parametrize(
    ("data", "actions"),
    [
        (file_of(smooth(), "JPEG"), ()),
        (file_of(smooth().convert("L"), "JPEG"), ("encoded",)),
        (file_of(smooth(), "PNG"), ("converted", "encoded")),
        (oriented(smooth(), "JPEG", 3), ("oriented", "encoded")),
        (file_of(smooth(300, 500), "JPEG"), ("resized", "encoded")),
        (
            oriented(smooth(300, 500), "WEBP", 5),
            ("converted", "oriented", "resized", "encoded"),
        ),
    ],
)
def test_what_was_done_is_reported_in_order(data, actions):
    assert encode(data, AS_BUILT).actions == actions


def test_the_orientation_is_applied_before_resizing():
    data = oriented(smooth(80, 200), "JPEG", 6)
    spec = dataclasses.replace(FINEST, resize="shorter_side", size=40)
    stored = encode(data, spec)
    assert (stored.height, stored.width) == (100, 40)
    assert stored.actions == ("oriented", "resized", "encoded")


def orientation_facts(format: str) -> tuple[tuple[int, int], tuple[str, ...]]:
    stored = encode(oriented(smooth(40, 60), format, 6))
    return (stored.source_height, stored.source_width), stored.actions


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_source_size_is_that_before_turning(format):
    size, actions = orientation_facts(format)
    assert size == (40, 60)
    assert "oriented" in actions


def test_the_source_size_is_that_before_turning_of_a_tiff_too():
    assert orientation_facts("TIFF") == ((40, 60), ("converted", "oriented", "encoded"))


# Limits and filters.


@pytest.mark.parametrize(
    ("height", "width", "spec"),
    [(300, 80_000, AS_BUILT), (10, 66_000, FINEST), (66_000, 10, FINEST)],
)
def test_an_image_too_long_for_jpeg_is_refused(height, width, spec):
    rejection(file_of(Image.new("1", (width, height)), "PNG"), spec=spec)


@pytest.mark.parametrize("format", ["png", "raw"])
def test_only_jpeg_has_an_end_to_its_sides(format):
    long = file_of(Image.new("L", (66_000, 2), 9), "PNG")
    spec = dataclasses.replace(FINEST, format=format)
    assert encode(long, spec).width == 66_000


def test_enlarging_beyond_the_limit_on_pixels_is_refused():
    spec = dataclasses.replace(
        FINEST, format="png", resize="shorter_side", size=1000, upscale=True
    )
    error = rejection(
        file_of(Image.new("L", (500, 1)), "PNG"), spec=spec, max_pixels=999
    )
    assert error.reason == "too_many_pixels"
    assert "500000 × 1000 once resized" in error.detail


@pytest.mark.parametrize("orientation", [1, 6])
def test_filters_go_by_the_size_in_the_header(orientation):
    data = oriented(smooth(40, 100), "JPEG", orientation)
    source = SourceImage(data, max_pixels=MAX_PIXELS)
    source.check_filters(min_image_size=40, max_aspect_ratio=2.5)
    source.check_filters(min_image_size=1, max_aspect_ratio=None)
    with pytest.raises(BadInput) as caught:
        source.check_filters(min_image_size=41, max_aspect_ratio=None)
    assert caught.value.reason == "image_too_small"
    assert REASONS[caught.value.reason] == "filtered"
    with pytest.raises(BadInput) as caught:
        source.check_filters(min_image_size=1, max_aspect_ratio=2.49)
    assert caught.value.reason == "aspect_ratio_too_large"
    assert REASONS[caught.value.reason] == "filtered"


def test_a_ratio_is_as_exact_as_its_decimals():
    source = SourceImage(file_of(smooth(10, 11), "PNG"), max_pixels=MAX_PIXELS)
    source.check_filters(min_image_size=1, max_aspect_ratio=1.1)
