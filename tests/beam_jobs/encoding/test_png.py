"""Tests PNGs of all kinds against arithmetic, and large or unreadable metadata."""

import dataclasses
import io
import itertools
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from image_files import (
    FINEST,
    ORIENTATION,
    encode,
    file_of,
    png,
    png_chunk,
    rejection,
    smooth,
    swapped_profile,
)
from PIL import Image

from beam_jobs.encoding.color.color_space import color_of_codes, profile_for

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RAW = dataclasses.replace(FINEST, format="raw")
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
KINDS = [
    *itertools.product([GRAY], [1, 2, 4, 8, 16]),
    *itertools.product([RGB, GRAY_ALPHA, RGB_ALPHA], [8, 16]),
    *itertools.product([PALETTE], [1, 2, 4, 8]),
]
# First row and column, and their steps, of each pass of an interlaced PNG.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4))
PASSES += ((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def stored(data: bytes) -> np.ndarray:
    image = encode(data, RAW)
    found = np.frombuffer(image.data, np.uint8)
    return found.reshape(image.height, image.width, 3)


def rows_of(samples: np.ndarray, depth: int) -> bytes:
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        lines = flat.astype(">u2").view(np.uint8).reshape(len(flat), -1)
    else:
        bits = (flat[..., None] >> np.arange(depth)[::-1]) & 1
        lines = np.packbits(bits.reshape(len(flat), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + line.tobytes() for line in lines)


def png_of(
    samples: np.ndarray,
    depth: int,
    color: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
) -> bytes:
    height, width, _ = samples.shape
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    parts = (samples[y::down, x::across] for y, x, down, across in passes)
    pixels = b"".join(rows_of(part, depth) for part in parts if part.size)
    header = (width, height, depth, color, int(interlaced))
    return png(header, *chunks, (b"IDAT", zlib.compress(pixels)))


def upper(samples: np.ndarray, depth: int) -> np.ndarray:
    return samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    return color * (alpha / 255) + 255 - alpha


def check(data: bytes, expected: np.ndarray) -> None:
    assert np.abs(stored(data) - expected).max() <= 1


@pytest.mark.parametrize(("color", "depth"), KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_kind_is_stored_as_the_specification_says(color, depth, interlaced):
    rng = np.random.default_rng(depth)
    samples = rng.integers(0, 2**depth, (13, 11, CHANNELS[color]))
    chunks = []
    if color == PALETTE:
        palette = rng.integers(0, 256, (2**depth, 3))
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
        expected = palette[samples[..., 0]]
    else:
        light = upper(samples, depth)
        number = 1 if color in (GRAY, GRAY_ALPHA) else 3
        alpha = light[..., number:] if color > PALETTE else np.full((13, 11, 1), 255)
        expected = over_white(light[..., :number], alpha)
    data = png_of(samples, depth, color, *chunks, interlaced=interlaced)
    check(data, expected)
    decoded = imagecodecs.png_decode(data)  # What was written is what was meant.
    if color not in (PALETTE, RGB_ALPHA, GRAY_ALPHA) and depth >= 8:
        assert (decoded.reshape(samples.shape) == samples).all()


@pytest.mark.parametrize(
    ("color", "depth"), [kind for kind in KINDS if kind[0] in (GRAY, RGB)]
)
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (5, 4), (12, 10)])
@pytest.mark.parametrize("ignored_bits", [0, 5])
def test_a_clear_color_is_white_and_no_other_is(
    color, depth, interlaced, place, ignored_bits
):
    samples = np.random.default_rng(1).integers(0, 2**depth, (13, 11, CHANNELS[color]))
    samples[3] = samples[place]
    samples[3, ::2, -1] ^= 1  # One bit of one channel differs.
    clear = samples[place]
    if depth < 16:  # "Only the lower bits are used."
        clear = clear + (ignored_bits << depth)
    key = (b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    alpha = np.where((samples == samples[place]).all(-1, keepdims=True), 0, 255)
    data = png_of(samples, depth, color, key, interlaced=interlaced)
    check(data, over_white(upper(samples, depth), alpha))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("more", [-1, 0, 3])
@pytest.mark.parametrize("values", ["any", "one clear", "all clear"])
def test_transparencies_of_a_palette_are_applied(depth, more, values):
    rng = np.random.default_rng(2)
    samples = rng.integers(0, 2**depth, (13, 11, 1))
    palette = rng.integers(0, 256, (2**depth, 3))
    alphas = rng.integers(0, 256, 2**depth + more)
    if values != "any":
        alphas[:] = 255 if values == "one clear" else 0
        alphas[0] = 0
    chunks = (
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"tRNS", alphas.astype(np.uint8).tobytes()),
    )
    every = np.append(alphas, [255] * 2)[samples]
    expected = over_white(palette[samples[..., 0]], every)
    check(png_of(samples, depth, PALETTE, *chunks), expected)


def test_transparency_that_the_specification_forbids_is_passed_over():
    samples = np.random.default_rng(3).integers(0, 256, (5, 5, 4))
    plain = png_of(samples, 8, RGB_ALPHA)
    key = (b"tRNS", struct.pack(">3H", *samples[0, 0, :3]))
    assert (stored(png_of(samples, 8, RGB_ALPHA, key)) == stored(plain)).all()


def test_a_clear_color_of_16_bits_is_converted_to_srgb_too():
    samples = np.full((4, 4, 3), (60_000, 5_000, 5_000))
    samples[0, 0] = 7
    profile = (b"iCCP", b"swapped\0\0" + zlib.compress(swapped_profile()))
    clear = (b"tRNS", struct.pack(">3H", 7, 7, 7))
    found = stored(png_of(samples, 16, RGB, profile, clear))
    plain = stored(png_of(samples, 16, RGB, profile))
    assert found[0, 0].tolist() == [255] * 3
    assert (found[1:] == plain[1:]).all()
    assert found[2, 2, 1] > found[2, 2, 0]  # Red and green are swapped.


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("color", "depth"), KINDS)
@pytest.mark.parametrize("blank", [False, True])
def test_a_png_without_its_last_row_is_damaged(color, depth, interlaced, blank):
    chunks = [(b"PLTE", bytes(range(6)))] if color == PALETTE else []
    samples = np.full((9, 13, CHANNELS[color]), 0 if blank else 1)
    data = png_of(samples, depth, color, *chunks, interlaced=bool(interlaced))
    assert len(stored(data)) == 9
    header = data[16:20] + struct.pack(">I", 10) + data[24:29]
    short = data[:8] + png_chunk(b"IHDR", header) + data[33:]
    assert rejection(short).reason == "damaged_image"


def test_a_wrong_checksum_of_zlib_is_passed_over():
    header, samples = (13, 9, 8, GRAY, 1), np.zeros((9, 13, 1), np.uint16)
    packed = zlib.compress(bytes(1000))[:-1] + b"x"
    assert (stored(png(header, (b"IDAT", packed))) == samples).all()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color", [GRAY, GRAY_ALPHA])
def test_linear_gray_with_and_without_alpha_becomes_srgb(color, depth):
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16, 1)
    alpha = np.full_like(gray, 255)
    samples = np.concatenate([gray, alpha], -1)[..., : CHANNELS[color]]
    samples = samples * 257 if depth == 16 else samples
    profile = profile_for(color_of_codes(1, 8), gray=True)
    found = stored(
        png_of(samples, depth, color, (b"iCCP", b"gray\0\0" + zlib.compress(profile)))
    )
    light = gray / 255
    # IEC 61966-2-1.
    srgb = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    assert np.abs(found - 255 * srgb).max() < 1


# Metadata.

BIG = bytes(3_000_000)
HUGE = bytes(40_000_000)
METADATA = {
    "zTXt": (b"zTXt", b"workflow\0\0" + zlib.compress(BIG)),
    "a huge zTXt": (b"zTXt", b"workflow\0\0" + zlib.compress(HUGE)),
    "a zTXt of no zlib": (b"zTXt", b"workflow\0\0garbage"),
    "a zTXt of an unknown method": (b"zTXt", b"workflow\0\7garbage"),
    "a zTXt of nothing": (b"zTXt", b""),
    "iTXt": (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(BIG)),
    "a plain iTXt": (b"iTXt", b"workflow\0\0\0\0\0" + BIG),
    "an iTXt of nothing": (b"iTXt", b""),
    "a huge XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(HUGE)),
    "an XMP of no zlib": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0garbage"),
    "an XMP of an unknown method": (b"iTXt", b"XML:com.adobe.xmp\0\1\5\0\0garbage"),
    "tEXt": (b"tEXt", b"workflow\0" + BIG),
    "much tEXt": (b"tEXt", b"workflow\0" + HUGE),
    "a huge Exif as text": (
        b"zTXt",
        b"Raw profile type exif\0\0" + zlib.compress(HUGE),
    ),
    "a huge profile": (b"iCCP", b"profile\0\0" + zlib.compress(HUGE)),
    "a profile of no zlib": (b"iCCP", b"profile\0\0garbage"),
    "a profile of an unknown method": (b"iCCP", b"profile\0\3garbage"),
    "a profile of nothing": (b"iCCP", b""),
    "a big Exif": (b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0" + BIG),
    "an Exif of garbage": (b"eXIf", b"garbage"),
    "gamma of a wrong length": (b"gAMA", b"\1"),
    "chromaticities of a wrong length": (b"cHRM", b"\1\2\3"),
    "sRGB of a wrong length": (b"sRGB", b""),
    "a density of a wrong length": (b"pHYs", b"\1"),
    "frames of a wrong length": (b"acTL", b"\1"),
    "a private chunk": (b"prVt", BIG),
}
PIXELS = np.asarray(smooth())


@pytest.mark.parametrize("kind", METADATA)
@pytest.mark.parametrize("after", [False, True])
def test_metadata_is_no_reason_to_lose_a_picture(kind, after):
    data = file_of(smooth(), "PNG")
    place = data.index(b"IEND") - 4 if after else 33  # Behind IHDR.
    data = data[:place] + png_chunk(*METADATA[kind]) + data[place:]
    assert (stored(data) == PIXELS).all()


def test_a_hundred_texts_are_no_reason_either():
    data = file_of(smooth(), "PNG")
    texts = png_chunk(*METADATA["zTXt"]) * 100
    assert (stored(data[:33] + texts + data[33:]) == PIXELS).all()


def test_a_profile_of_two_megabytes_is_applied():
    small = file_of(smooth(), "PNG", icc_profile=swapped_profile())
    padded = bytearray(swapped_profile() + bytes(2_000_000))
    padded[:4] = struct.pack(">I", len(padded))
    large = file_of(smooth(), "PNG", icc_profile=bytes(padded))
    assert (stored(large) == stored(small)).all()
    assert not (stored(small) == PIXELS).all()


@pytest.mark.parametrize("kind", ["XMP", "compressed XMP", "Exif as text", "Exif"])
def test_an_orientation_in_metadata_is_applied(kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    hexed = exif.tobytes().hex()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    chunk = {
        "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "compressed XMP": (
            b"iTXt",
            b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp),
        ),
        "Exif as text": (
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(f"\nexif\n{len(hexed) // 2:8}\n{hexed}\n".encode()),
        ),
        "Exif": (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
    }[kind]
    data = file_of(smooth(), "PNG")
    data = data[:33] + png_chunk(*chunk) + data[33:]
    assert (stored(data) == np.rot90(PIXELS, -1)).all()


def test_a_png_cut_inside_its_text_is_damaged():
    data = file_of(smooth(), "PNG")
    data = data[:33] + png_chunk(*METADATA["tEXt"]) + data[33:]
    assert rejection(data[:1000]).reason == "damaged_image"


def test_an_animation_is_its_first_image():
    file = io.BytesIO()
    other = smooth().transpose(Image.Transpose.ROTATE_180)
    smooth().save(file, "PNG", save_all=True, append_images=[other])
    assert (stored(file.getvalue()) == PIXELS).all()
