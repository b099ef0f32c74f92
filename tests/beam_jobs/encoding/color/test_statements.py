"""Tests the colors that files state, against color math and Chromium."""

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from image_files import (
    FINEST,
    distance,
    encode,
    file_of,
    over_white,
    pixels_of,
    png,
    rejection,
    smooth,
    swapped_profile,
    with_alpha,
)
from PIL import Image, ImageCms

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LOSSLESS = dataclasses.replace(FINEST, format="png")

# Linear light to CIE XYZ of D65, and back for sRGB: CSS Color 4, section 18.
TO_XYZ = {
    1: [
        [506752 / 1228815, 87881 / 245763, 12673 / 70218],
        [87098 / 409605, 175762 / 245763, 12673 / 175545],
        [7918 / 409605, 87881 / 737289, 1001167 / 1053270],
    ],
    9: [
        [63426534 / 99577255, 20160776 / 139408157, 47086771 / 278816314],
        [26158966 / 99577255, 472592308 / 697040785, 8267143 / 139408157],
        [0, 19567812 / 697040785, 295819943 / 278816314],
    ],
    12: [
        [608311 / 1250200, 189793 / 714400, 198249 / 1000160],
        [35783 / 156275, 247089 / 357200, 198249 / 2500400],
        [0, 32229 / 714400, 5220557 / 5000800],
    ],
    # Adobe RGB (1998).
    "adobe": [
        [573536 / 994567, 263643 / 1420810, 187206 / 994567],
        [591459 / 1989134, 6239551 / 9945670, 374412 / 4972835],
        [53769 / 1989134, 351524 / 4972835, 4929758 / 4972835],
    ],
}


def srgb_to_light(values: np.ndarray) -> np.ndarray:
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def light_to_srgb(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return np.where(
        light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
    )


Curve = Callable[[np.ndarray], np.ndarray]
CURVES: dict[int, Curve] = {
    1: srgb_to_light,
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    8: lambda values: values,
    13: srgb_to_light,
    14: srgb_to_light,
}


def expected_srgb(pixels: Any, primaries: Any, to_light: Curve) -> np.ndarray:
    """Returns uint8 sRGB, computed in floating point."""
    light = to_light(np.asarray(pixels) / 255)
    if primaries in TO_XYZ:
        matrix = np.linalg.inv(TO_XYZ[1]) @ np.array(TO_XYZ[primaries])
        light = light @ matrix.T
    return (light_to_srgb(light) * 255).round().astype(np.uint8)


def with_chunks(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG with chunks after its header."""
    inserted = b"".join(
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return data[:33] + inserted + data[33:]


def codes(*values: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes(values)


def gamma(value: int) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", value)


def chroma(*values: int) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *values)


SRGB_CHROMA = chroma(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_CHROMA = chroma(31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_CHUNK = (b"sRGB", b"\0")
ICC_CHUNK = (b"iCCP", b"swapped\0\0" + zlib.compress(swapped_profile()))


def avif(image: Image.Image, *values: int, **options: Any) -> bytes:
    """Returns an AVIF whose `nclx` has other primaries and transfer."""
    data = file_of(image, "AVIF", quality=100, subsampling="4:4:4", **options)
    return data.replace(
        b"colrnclx\0\1\0\x0d", b"colrnclx" + struct.pack(">2H", *values)
    )


def deep_png(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG of 16 bits a channel."""
    pixels = np.asarray(image).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    color = 0 if image.mode == "L" else 2
    header = (image.width, image.height, 16, color, 0)
    return png(header, *chunks, (b"IDAT", zlib.compress(rows)))


def of_png(image: Image.Image, *values: int) -> bytes:
    return with_chunks(file_of(image, "PNG"), codes(*values, 0, 1))


def of_deep_png(image: Image.Image, *values: int) -> bytes:
    return deep_png(image, codes(*values, 0, 1))


def flat(alpha: bool = False) -> Image.Image:
    """Returns large patches of one color, which lossy formats keep to a level."""
    image = smooth(4, 6).resize((96, 64), Image.Resampling.NEAREST)
    return with_alpha(image) if alpha else image


# How to write each kind of file, and its picture.
FILES = {
    "png": (of_png, smooth()),
    "png of 16 bits": (of_deep_png, smooth()),
    "gray png": (of_png, smooth().convert("L")),
    "gray png of 16 bits": (of_deep_png, smooth().convert("L")),
    "transparent png": (of_png, with_alpha(smooth())),
    "transparent gray png": (of_png, with_alpha(smooth().convert("L"))),
    "png of a palette": (of_png, smooth().quantize(64)),
    "avif": (avif, flat()),
    "gray avif": (avif, flat().convert("L")),
    "transparent avif": (avif, flat(alpha=True)),
}


@pytest.mark.parametrize("primaries", [1, 9, 12])
@pytest.mark.parametrize("transfer", CURVES)
@pytest.mark.parametrize("kind", FILES)
def test_code_points_become_srgb(kind, transfer, primaries):
    write, image = FILES[kind]
    # What the decoder makes of the file, so that only colors are compared.
    with Image.open(io.BytesIO(write(image, 1, 13))) as file:
        shown = file.convert("RGBA") if file.mode != "I;16" else image.convert("RGBA")
    made = expected_srgb(shown.convert("RGB"), primaries, CURVES[transfer])
    expected = Image.fromarray(made)
    expected.putalpha(shown.getchannel("A"))
    stored = encode(write(image, primaries, transfer), LOSSLESS)
    assert distance(pixels_of(stored.data), over_white(expected)) <= 1
    changed = distance(made, np.asarray(shown.convert("RGB"))) > 3
    assert "to_srgb" in stored.actions or not changed


@pytest.mark.parametrize("write", [of_png, avif], ids=["png", "avif"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (9, "log")])
def test_hdr_is_unsupported(write, transfer, name):
    error = rejection(write(smooth(), 9, transfer))
    assert error.reason == "unsupported_image"
    assert name in error.detail


# Gray, red, green and blue, as Chromium 156 shows them in PNGs of these code points.
PATCHES = np.array([[[64] * 3, [200, 50, 30], [30, 200, 50], [20, 40, 220]]], np.uint8)
CHROMIUM = {
    (4, 13): [[64, 64, 64], [237, 35, 0], [0, 196, 23], [0, 75, 227]],
    (5, 13): [[64, 64, 64], [204, 50, 30], [0, 200, 55], [19, 40, 219]],
    (6, 13): [[64, 64, 64], [195, 57, 29], [57, 197, 48], [33, 50, 221]],
    (7, 13): [[64, 64, 64], [195, 57, 29], [57, 197, 48], [33, 50, 221]],
    (8, 13): [[64, 64, 64], [227, 19, 0], [0, 206, 0], [0, 24, 228]],
    (9, 13): [[64, 64, 64], [248, 0, 3], [0, 211, 0], [0, 35, 231]],
    (10, 13): [[64, 64, 64], [255, 0, 60], [0, 255, 0], [0, 71, 234]],
    (11, 13): [[64, 64, 64], [213, 24, 4], [0, 204, 0], [10, 38, 229]],
    (12, 13): [[64, 64, 64], [218, 24, 1], [0, 204, 0], [12, 41, 229]],
    (22, 13): [[64, 64, 64], [202, 58, 29], [0, 196, 49], [21, 59, 220]],
    (1, 4): [[62, 62, 62], [201, 46, 24], [24, 201, 46], [12, 35, 221]],
    (1, 5): [[40, 40, 40], [189, 26, 8], [8, 189, 26], [3, 17, 212]],
    (1, 7): [[81, 81, 81], [206, 68, 48], [48, 206, 68], [38, 58, 224]],
    (1, 8): [[137, 137, 137], [229, 122, 96], [96, 229, 122], [79, 110, 239]],
    (1, 17): [[48, 48, 48], [200, 34, 13], [13, 200, 34], [5, 23, 224]],
}


@pytest.mark.parametrize("values", CHROMIUM)
def test_every_code_point_looks_as_in_chromium(values):
    stored = encode(of_png(Image.fromarray(PATCHES), *values), LOSSLESS)
    assert distance(pixels_of(stored.data)[0], np.array(CHROMIUM[values])) <= 1


@pytest.mark.parametrize(
    "values", [(2, 2), (0, 0), (3, 3), (255, 255), (1, 2), (2, 13)]
)
@pytest.mark.parametrize("write", [of_png, avif], ids=["png", "avif"])
def test_unspecified_code_points_are_srgb(write, values):
    stored = encode(write(smooth(), *values), LOSSLESS)
    assert stored.data == encode(write(smooth(), 1, 13), LOSSLESS).data


@pytest.mark.parametrize(("mode", "rounding"), [("RGB", 1), ("L", 2)])
def test_narrow_samples_are_widened(mode, rounding):
    narrow = np.arange(256, dtype=np.uint8).reshape(1, 256)
    image = Image.fromarray(narrow).convert(mode)
    data = with_chunks(file_of(image, "PNG"), codes(1, 13, 0, 0))
    expected = ((narrow.astype(float) - 16) * 255 / 219).round().clip(0, 255)
    found = pixels_of(encode(data, LOSSLESS).data)[..., 0]
    assert distance(found, expected) <= rounding


# Precedence in PNG.

P3 = codes(12, 13, 0, 1)
SWAPPED, AS_P3 = "swapped", "p3"


@pytest.mark.parametrize(
    ("chunks", "stated"),
    [
        ([P3, ICC_CHUNK], AS_P3),
        ([ICC_CHUNK, P3], AS_P3),
        ([P3, SRGB_CHUNK, gamma(100_000), SRGB_CHROMA], AS_P3),
        ([codes(2, 2, 0, 1), ICC_CHUNK], SWAPPED),
        ([codes(12, 13, 1, 1), ICC_CHUNK], SWAPPED),
        ([codes(12, 13, 0), ICC_CHUNK], SWAPPED),
        ([ICC_CHUNK, SRGB_CHUNK, gamma(100_000), SRGB_CHROMA], SWAPPED),
        ([SRGB_CHUNK, gamma(100_000), P3_CHROMA], None),
        ([codes(12, 13, 1, 1), SRGB_CHUNK, gamma(100_000), P3_CHROMA], None),
        ([codes(1, 13, 0, 1), gamma(100_000), P3_CHROMA], None),
        ([codes(12, 13, 0)], None),
        ([codes(12, 13, 0, 1, 0)], None),
        ([codes()], None),
    ],
)
def test_the_first_statement_of_a_png_wins(chunks, stated):
    image = smooth()
    stored = encode(with_chunks(file_of(image, "PNG"), *chunks), LOSSLESS)
    expected = np.asarray(image)
    if stated == AS_P3:
        expected = expected_srgb(expected, 12, srgb_to_light)
    elif stated == SWAPPED:
        expected = expected[..., [1, 0, 2]]
    assert distance(pixels_of(stored.data), expected) <= 1


# Gamma and chromaticities.


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(45_455)],
        [gamma(100_000)],
        [P3_CHROMA],
        [gamma(45_455), SRGB_CHROMA],
        [gamma(45_000), SRGB_CHROMA],
        [gamma(45_454), chroma(31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999)],
        [gamma(0), P3_CHROMA],
        [gamma(1), P3_CHROMA],
        [gamma(0xFFFFFFFF), P3_CHROMA],
        [gamma(45_455), chroma(*[0] * 8)],
        [gamma(45_455), chroma(*[0xFFFFFFFF] * 8)],
        [gamma(45_455), chroma(31270, 32900, *[30000, 60000] * 3)],
        [gamma(45_455), (P3_CHROMA[0], P3_CHROMA[1][:28])],
        [(b"gAMA", struct.pack(">2I", 45_455, 0)), P3_CHROMA],
    ],
)
def test_a_png_without_a_whole_statement_is_srgb(chunks):
    image = smooth()
    plain = encode(file_of(image, "PNG"), LOSSLESS)
    stored = encode(with_chunks(file_of(image, "PNG"), *chunks), LOSSLESS)
    assert stored.data == plain.data


@pytest.mark.parametrize(
    ("value", "chromaticities", "primaries"),
    [
        (100_000, SRGB_CHROMA, 1),
        (55_556, SRGB_CHROMA, 1),
        (45_455, P3_CHROMA, 12),
        (100_000, P3_CHROMA, 12),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_gamma_with_chromaticities_becomes_srgb(mode, value, chromaticities, primaries):
    image = smooth().convert(mode)
    data = with_chunks(file_of(image, "PNG"), gamma(value), chromaticities)
    made = expected_srgb(
        image.convert("RGB"), primaries, lambda values: values ** (100_000 / value)
    )
    assert distance(pixels_of(encode(data, LOSSLESS).data), made) <= 1


# Exif.


def exif(space: int, index: Any = None) -> bytes:
    tags, inner = Image.Exif(), {0xA001: space}
    if index is not None:
        inner[0xA005] = {1: index}
    tags[0x8769] = inner
    return tags.tobytes()


WRITERS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
    "PNG": {},
    "TIFF": {},
}


STATED = [
    (2, None, True),
    (0xFFFF, "R03", True),
    (0xFFFF, "R98", False),
    (0xFFFF, None, False),
    (1, None, False),
    (1, "R03", False),
    (7, None, False),
]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("format", "space", "index", "is_adobe"),
    [
        (format, *stated)
        for format in WRITERS
        for stated in STATED
        # Pillow writes a wrong offset of the index into a TIFF.
        if not (format == "TIFF" and stated[1])
    ],
)
def test_adobe_rgb_of_exif_becomes_srgb(format, mode, space, index, is_adobe):
    image, options = flat().convert(mode), WRITERS[format]
    with Image.open(io.BytesIO(file_of(image, format, **options))) as file:
        shown = np.asarray(file.convert("RGB"))
    data = file_of(image, format, exif=exif(space, index), **options)
    expected = expected_srgb(shown, "adobe", lambda values: values ** (563 / 256))
    stored = encode(data, LOSSLESS)
    assert distance(pixels_of(stored.data), expected if is_adobe else shown) <= 1
    assert ("to_srgb" in stored.actions) == is_adobe


def test_a_jpeg_in_adobe_rgb_is_not_kept():
    plain = file_of(smooth(), "JPEG")
    assert encode(plain).actions == ()
    stated = file_of(smooth(), "JPEG", exif=exif(0xFFFF, "R03"))
    assert encode(stated).actions == ("to_srgb", "encoded")
    srgb = file_of(smooth(), "JPEG", exif=exif(1, "R98"))
    assert encode(srgb).data == encode(plain).data


def test_an_icc_profile_wins_over_exif():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = file_of(smooth(), "JPEG", icc_profile=srgb, exif=exif(2))
    assert encode(data).actions == ()


def test_code_points_win_over_exif_if_they_are_specified():
    image = flat()
    assert "to_srgb" not in encode(avif(image, 1, 13, exif=exif(2))).actions
    assert "to_srgb" in encode(avif(image, 2, 2, exif=exif(2))).actions


# ICC profiles that Pillow does not report, and TIFF.


def bmp(image: Image.Image, profile: bytes, kind: bytes = b"DEBM") -> bytes:
    """Returns a BMP of version 5 with a profile after its pixels."""
    plain = file_of(image, "BMP")
    pixels = plain[54:]
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + kind + bytes(48)
    header += struct.pack("<4I", 4, 124 + len(pixels), len(profile), 0)
    begin = struct.pack("<2sIII", b"BM", 0, 0, 14 + len(header))
    return begin + header + pixels + profile


def gif(image: Image.Image, profile: bytes) -> bytes:
    """Returns a GIF with a profile in an application extension."""
    plain = file_of(image, "GIF")
    offset = 13 + (3 << (plain[10] & 7) + 1)
    parts = [profile[n : n + 255] for n in range(0, len(profile), 255)]
    blocks = b"".join(bytes([len(part)]) + part for part in parts)
    extension = b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0"
    return plain[:offset] + extension + plain[offset:]


@pytest.mark.parametrize("write", [bmp, gif])
def test_an_embedded_profile_is_applied(write):
    image = smooth().quantize(64).convert("RGB")
    stored = encode(write(image, swapped_profile()), LOSSLESS)
    plain = pixels_of(encode(write(image, b"damaged"), LOSSLESS).data)
    assert distance(plain, np.asarray(image)) <= 1
    assert distance(pixels_of(stored.data), plain[..., [1, 0, 2]]) <= 1
    assert "to_srgb" in stored.actions


def test_a_bmp_with_a_linked_profile_is_srgb():
    stored = encode(bmp(smooth(), swapped_profile(), b"KNIL"), LOSSLESS)
    assert (pixels_of(stored.data) == np.asarray(smooth())).all()


COLORIMETRY = {318: (0.3127, 0.329), 319: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)}
LINEAR = tuple(range(0, 65536, 257))


@pytest.mark.parametrize(
    ("mode", "table"), [("RGB", LINEAR), ("RGB", LINEAR * 3), ("L", LINEAR)]
)
def test_the_colorimetry_of_a_tiff_becomes_srgb(mode, table):
    image = smooth().convert(mode)
    data = file_of(image, "TIFF", tiffinfo=COLORIMETRY | {301: table})
    expected = expected_srgb(image.convert("RGB"), 12, lambda values: values)
    assert distance(pixels_of(encode(data, LOSSLESS).data), expected) <= 1


@pytest.mark.parametrize(
    "tags",
    [COLORIMETRY, {301: LINEAR}, COLORIMETRY | {301: LINEAR, 318: (0.3, 0.0)}],
    ids=["no curve", "no primaries", "no white"],
)
def test_a_tiff_without_a_whole_statement_is_srgb(tags):
    data = file_of(smooth(), "TIFF", tiffinfo=tags)
    assert (pixels_of(encode(data, LOSSLESS).data) == np.asarray(smooth())).all()
