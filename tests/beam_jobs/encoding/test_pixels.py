"""Tests orientation, pixel modes and ICC profiles against Pillow."""

import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
from image_files import (
    FINEST,
    JPEG_LOSS,
    ORIENTATION,
    distance,
    encode,
    file_of,
    noisy,
    over_white,
    pixels_of,
    png,
    rejection,
    smooth,
    swapped_profile,
)
from image_kinds import FILES, interlaced_png
from PIL import Image, ImageCms, ImageOps

from beam_jobs.encoding.pixels import turn_upright

# `configure_codecs` ignores these warnings, but pytest resets filters for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


# Orientation.


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(3, 5), (5, 3), (4, 4), (1, 7), (7, 1), (1, 1)])
def test_turning_upright_is_what_pillow_does(orientation, size):
    image = noisy(*size, seed=orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    turned = turn_upright(np.asarray(image), orientation)
    assert turned.shape == expected.shape
    assert (turned == expected).all()
    assert turned.flags.c_contiguous


# Pixel modes.


@pytest.mark.parametrize(
    ("data", "expected"), [file[1:] for file in FILES], ids=[file[0] for file in FILES]
)
def test_every_kind_of_image_looks_as_it_should(data, expected):
    stored = encode(data)
    assert (stored.height, stored.width) == expected.shape[:2]
    # One more level for rounding in blending and in CMYK conversion.
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS + 1


@pytest.mark.parametrize("format", ["png", "raw"])
@pytest.mark.parametrize(
    "data", [file[1] for file in FILES], ids=[file[0] for file in FILES]
)
def test_what_is_stored_without_loss_looks_as_it_should(data, format):
    expected = next(file[2] for file in FILES if file[1] == data)
    stored = encode(data, dataclasses.replace(FINEST, format=format))
    assert stored.format == format
    if format == "png":
        found = pixels_of(stored.data)
    else:
        shape = (stored.height, stored.width, 3)
        found = np.frombuffer(stored.data, np.uint8).reshape(shape)
    assert distance(found, expected) <= 1


def test_an_interlaced_png_is_the_same_picture():
    assert (pixels_of(interlaced_png()) == np.asarray(smooth())).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_known_range_are_unsupported(mode):
    error = rejection(file_of(Image.new(mode, (8, 8), 3), "TIFF"))
    assert error.reason == "unsupported_image"
    assert f"mode {mode}" in error.detail


def test_a_transparent_gray_of_16_bits_lies_over_white_too():
    row = b"\0" + struct.pack(">16H", *[0] * 8, *[40_000] * 8)
    pixels = (b"IDAT", zlib.compress(row * 16))
    data = png((16, 16, 16, 0, 0), (b"tRNS", b"\0\0"), pixels)
    assert pixels_of(encode(data).data)[0, 0].tolist() == [255, 255, 255]


def test_every_png_of_pngsuite_looks_as_pillow_shows_it(shared_data):
    folder = shared_data / "images" / "pngsuite"
    spec, written = dataclasses.replace(FINEST, format="raw"), 0
    for file in sorted(folder.glob("*.png")):
        data = file.read_bytes()
        if file.name.startswith("x"):
            assert rejection(data).reason in ("not_an_image", "damaged_image")
            continue
        stored = encode(data, spec)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode.startswith("I;16"):
                gray = np.asarray(image)
                clear = gray == image.info.get("transparency", -1)
                expected = np.where(clear, 255, gray >> 8)[..., None].repeat(3, axis=2)
            else:
                expected = over_white(image)
        if file.name.startswith("ccw"):  # Linear light: gAMA 1 with cHRM.
            light = expected / 255
            expected = np.where(
                light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
            )
            expected = (expected * 255).round()
        shape = (stored.height, stored.width, 3)
        found = np.frombuffer(stored.data, np.uint8).reshape(shape)
        assert distance(found, expected) <= 1, file.name
        written += 1
    assert written >= 160


# ICC profiles.


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_colors_are_brought_to_srgb(format):
    red = Image.new("RGB", (16, 16), (230, 20, 20))
    profile = swapped_profile()
    expected = ImageCms.profileToProfile(
        red,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    stored = encode(file_of(red, format, icc_profile=profile))
    assert distance(pixels_of(stored.data), np.asarray(expected)) <= JPEG_LOSS


def gray_profile(gamma: float) -> bytes:
    """Returns a gray ICC profile (version 2) with a gamma curve."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + struct.pack(">Iiii", 0, 63190, 65536, 54061)
    tags = struct.pack(">I", 2)
    tags += struct.pack(">4sII4sII", b"wtpt", 156, 20, b"kTRC", 176, 14)
    length = struct.pack(">I", 128 + len(tags) + len(white) + len(curve))
    head = length + bytes(4) + b"\2\x40\0\0" + b"mntrGRAYXYZ " + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + tags + white + curve


@pytest.mark.parametrize("transparent", [False, True])
def test_gray_of_16_bits_is_brought_to_srgb_too(transparent):
    profile = gray_profile(1.0)
    row = b"\0" + struct.pack(">16H", *[0] * 8, *[0x4000] * 8)
    data = png(
        (16, 16, 16, 0, 0),
        (b"iCCP", b"gray\0\0" + zlib.compress(profile)),
        *([(b"tRNS", b"\0\0")] if transparent else []),
        (b"IDAT", zlib.compress(row * 16)),
    )
    expected = ImageCms.profileToProfile(
        Image.new("L", (1, 1), 0x40),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    ).getpixel((0, 0))
    spec = dataclasses.replace(FINEST, format="png")
    stored = encode(data, spec)
    pixels = pixels_of(stored.data)
    assert pixels[0, 15].tolist() == list(expected)
    assert pixels[0, 0].tolist() == ([255] * 3 if transparent else [0] * 3)
    assert expected[0] > 0x70
    assert "to_srgb" in stored.actions


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_for_other_pixels_is_passed_over(mode):
    image = Image.new("RGB", (16, 16), (230, 20, 20)).convert(mode)
    plain = encode(file_of(image, "TIFF"))
    profiled = encode(file_of(image, "TIFF", icc_profile=swapped_profile()))
    assert profiled.data == plain.data


def test_colors_under_transparency_are_brought_to_srgb_before_white_is_added():
    profile = swapped_profile()
    red = Image.new("RGBA", (16, 16), (230, 20, 20, 128))
    srgb = ImageCms.profileToProfile(
        red.convert("RGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    srgb.putalpha(128)
    stored = encode(file_of(red, "PNG", icc_profile=profile))
    assert distance(pixels_of(stored.data), over_white(srgb)) <= JPEG_LOSS
    assert stored.actions == ("converted", "to_srgb", "encoded")
