"""Images: every answer is held against one that Pillow or plain arithmetic gives."""

import dataclasses
import hashlib
import io
import random
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from beam_jobs.elements import BadInput
from beam_jobs.encoding.decode_image import ImageFile
from beam_jobs.encoding.encode_image import EncodedImage, SourceImage
from beam_jobs.encoding.pixels import turn_upright
from reader.contract.manifest import ImageSpec
from reader.contract.rejects import REASONS

# The module says so too, but pytest begins each test with filters of its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

ORIENTATION = 0x0112
GPS = 0x8825

# Stored as well as JPEG can, so that what is compared is not JPEG's own loss.
FINEST = ImageSpec(format="jpeg", quality=100, subsampling="444", resize="none", size=1)
AS_BUILT = ImageSpec(
    format="jpeg", quality=90, subsampling="420", resize="shorter_side", size=256
)
# How far JPEG at that quality strays from a smooth picture, of 255.
JPEG_LOSS = 4

MAX_PIXELS = 100_000_000


def encode(
    data: bytes, spec: ImageSpec = FINEST, *, max_pixels: int = MAX_PIXELS
) -> EncodedImage:
    return SourceImage(data, max_pixels=max_pixels).encode(spec)


def refusal(data: bytes, **more: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        encode(data, **more)
    assert caught.value.reason in REASONS
    assert caught.value.detail
    return caught.value


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def distance(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def smooth(height: int = 40, width: int = 60) -> Image.Image:
    """Returns a picture that looks different however it is turned or mirrored."""
    down, right = np.mgrid[:height, :width] / [[[height]], [[width]]]
    channels = (right * 250, down * 250, 250 * (1 - down) * (1 - right))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def noisy(height: int = 48, width: int = 64, seed: int = 0) -> Image.Image:
    """Returns a picture that takes many bytes in any format."""
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    pixels = np.asarray(smooth(height, width)) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    alpha = np.linspace(0, 255, image.width * image.height).astype(np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(alpha.reshape(image.height, image.width)))
    return image


def over_white(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.convert("RGBA")).astype(float)
    alpha = pixels[..., 3:] / 255
    return (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


# Orientation.


def oriented(image: Image.Image, format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if format == "WEBP" else {}
    return file_of(image, format, exif=exif, **lossless)


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


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_applied_in_every_format_that_has_one(format, orientation):
    data = oriented(smooth(), format, orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    stored = encode(data)
    assert (stored.height, stored.width) == expected.shape[:2]
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS


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


def test_metadata_beyond_reading_leaves_the_picture_as_it_is():
    data = file_of(smooth(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff")
    assert encode(data).actions == ()


PHOTOGRAPHS = [f"{way}_{n}.jpg" for way in ("Landscape", "Portrait") for n in range(9)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_of_every_orientation_stand_upright(shared_data: Path, name: str):
    file = shared_data / "images" / "exif_orientation" / name
    if not file.exists():
        pytest.skip(f"{file}: no such real input here")
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    size = (384, 256) if name.startswith("Landscape") else (256, 384)
    expected = np.asarray(upright.resize(size, Image.Resampling.BOX))
    spec = dataclasses.replace(FINEST, resize="shorter_side", size=256)
    stored = encode(file.read_bytes(), spec)
    found = pixels_of(stored.data)
    assert found.shape == expected.shape
    # Turned wrongly it would be more than 20.
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert ("oriented" in stored.actions) == (name[-5] in "2345678")


# Size.


@pytest.mark.parametrize(
    ("height", "width", "spec"),
    [(300, 80_000, AS_BUILT), (10, 66_000, FINEST), (66_000, 10, FINEST)],
)
def test_an_image_too_long_for_jpeg_is_refused(height, width, spec):
    refusal(file_of(Image.new("1", (width, height)), "PNG"), spec=spec)


# Formats and modes. Each: the file, and uint8[height, width, 3] as it should look.


def grey_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    grey = smooth().convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    for format in ("PNG", "BMP", "TIFF"):
        yield f"grey {format}", file_of(grey, format), expected
    jpeg = file_of(grey, "JPEG")
    yield "grey JPEG", jpeg, pixels_of(jpeg)
    with_transparency = grey.convert("LA")
    with_transparency.putalpha(with_alpha(smooth()).getchannel("A"))
    data = file_of(with_transparency, "PNG")
    yield "grey and alpha PNG", data, over_white(with_transparency)
    deep = np.linspace(0, 65535, 40 * 60).astype(np.uint16).reshape(40, 60)
    upper = np.repeat((deep // 256).astype(np.uint8)[..., None], 3, axis=2)
    for format in ("PNG", "TIFF"):
        data = file_of(Image.fromarray(deep), format)
        yield f"16-bit grey {format}", data, upper
    bits = Image.new("1", (64, 40))
    bits.paste(1, (0, 0, 64, 16))
    yield "black and white PNG", file_of(bits, "PNG"), np.asarray(bits.convert("RGB"))


def palette_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    # Flat areas of a few colours: JPEG stores these well, too, if far enough apart.
    flat = Image.new("P", (64, 48), 0)
    flat.putpalette([200, 40, 30, 40, 180, 60, 30, 60, 190, 240, 240, 200])
    for index, box in enumerate(((16, 0, 32, 48), (32, 0, 48, 32), (48, 16, 64, 48))):
        flat.paste(index + 1, box)
    expected = np.asarray(flat.convert("RGB"))
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        yield f"palette {format}", file_of(flat, format), expected
    clear = expected.copy()
    clear[:, 16:32] = 255
    for format in ("PNG", "GIF"):
        data = file_of(flat, format, transparency=1)
        yield f"palette with a clear colour {format}", data, clear
    half = file_of(flat, "PNG", transparency=bytes([255, 128, 0, 64]))
    with Image.open(io.BytesIO(half)) as image:
        yield "palette with half-clear colours PNG", half, over_white(image)


def colour_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    rgb = smooth()
    for format in ("PNG", "BMP", "TIFF"):
        yield f"colour {format}", file_of(rgb, format), np.asarray(rgb)
    for name, data in (
        ("JPEG", file_of(rgb, "JPEG")),
        ("progressive JPEG", file_of(rgb, "JPEG", progressive=True)),
        ("JPEG with restarts", file_of(rgb, "JPEG", restart_marker_blocks=2)),
        ("4:4:4 JPEG", file_of(rgb, "JPEG", subsampling=0)),
        ("JPEG kept as RGB", file_of(rgb, "JPEG", keep_rgb=True)),
        ("JPEG and more pictures", two_pictures("MPO")),
        ("WebP", file_of(rgb, "WEBP")),
        ("lossless WebP", file_of(rgb, "WEBP", lossless=True)),
        ("AVIF", file_of(rgb, "AVIF")),
        ("TIFF of JPEG", file_of(rgb, "TIFF", compression="jpeg")),
        ("TIFF of LZW", file_of(rgb, "TIFF", compression="tiff_lzw")),
        ("interlaced PNG", interlaced_png()),
    ):
        yield f"colour {name}", data, pixels_of(data)
    rgba = with_alpha(rgb)
    for format in ("PNG", "TIFF"):
        yield f"alpha {format}", file_of(rgba, format), over_white(rgba)
    for format, options in (("WEBP", {"lossless": True}), ("AVIF", {"quality": 90})):
        data = file_of(rgba, format, **options)
        with Image.open(io.BytesIO(data)) as image:
            yield f"alpha {format}", data, over_white(image)


def cmyk_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    for format in ("JPEG", "TIFF"):
        data = file_of(smooth().convert("CMYK"), format)
        with Image.open(io.BytesIO(data)) as image:
            ink = np.asarray(image).astype(float)
        light = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
        yield f"CMYK {format}", data, light.round().astype(np.uint8)


def two_pictures(format: str, **options: Any) -> bytes:
    second = [smooth().transpose(Image.Transpose.ROTATE_180)]
    return file_of(smooth(), format, save_all=True, append_images=second, **options)


def animations() -> Iterator[tuple[str, bytes, np.ndarray]]:
    for format, options in (
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("AVIF", {"quality": 90}),
    ):
        data = two_pictures(format, **options)
        yield f"first frame of {format}", data, pixels_of(data)


def png_chunk(name: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + crc


def png(header: tuple[int, ...], *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG of (width, height, depth, colour type, interlaced)."""
    width, height, depth, color, interlaced = header
    first = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    named = ((b"IHDR", first), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in named)


def interlaced_png() -> bytes:
    pixels = np.asarray(smooth())
    passes = (
        pixels[0::8, 0::8],
        pixels[0::8, 4::8],
        pixels[4::8, 0::4],
        pixels[0::4, 2::4],
        pixels[2::4, 0::2],
        pixels[0::2, 1::2],
        pixels[1::2, 0::1],
    )
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    return png((60, 40, 8, 2, 1), (b"IDAT", zlib.compress(rows)))


FILES = [*grey_files(), *palette_files(), *colour_files(), *cmyk_files(), *animations()]


@pytest.mark.parametrize(
    ("data", "expected"), [file[1:] for file in FILES], ids=[file[0] for file in FILES]
)
def test_every_kind_of_image_looks_as_it_should(data, expected):
    stored = encode(data)
    assert (stored.height, stored.width) == expected.shape[:2]
    # One more for the rounding of light over white and of ink.
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS + 1


def test_an_interlaced_png_is_the_same_picture():
    assert (pixels_of(interlaced_png()) == np.asarray(smooth())).all()


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("colour JPEG", "jpeg"),
        ("colour JPEG and more pictures", "jpeg"),
        ("colour PNG", "png"),
        ("colour WebP", "webp"),
        ("colour AVIF", "avif"),
        ("colour BMP", "bmp"),
        ("colour TIFF", "tiff"),
        ("palette GIF", "gif"),
    ],
)
def test_the_format_is_told_by_the_content(name, format):
    data = next(data for known, data, _ in FILES if known == name)
    assert SourceImage(data, max_pixels=MAX_PIXELS).format == format
    assert encode(data).source_format == format


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_known_range_are_unsupported(mode):
    error = refusal(file_of(Image.new(mode, (8, 8), 3), "TIFF"))
    assert error.reason == "unsupported_image"
    assert f"mode {mode}" in error.detail


def test_a_transparent_grey_of_16_bits_lies_over_white_too():
    row = b"\0" + struct.pack(">16H", *[0] * 8, *[40_000] * 8)
    pixels = (b"IDAT", zlib.compress(row * 16))
    data = png((16, 16, 16, 0, 0), (b"tRNS", b"\0\0"), pixels)
    assert pixels_of(encode(data).data)[0, 0].tolist() == [255, 255, 255]


def swapped_profile() -> bytes:
    """Returns a colour profile that takes red for green and green for red."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"TEMP", 1).replace(b"gXYZ", b"rXYZ", 1)
    return swapped.replace(b"TEMP", b"gXYZ", 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_colours_are_brought_to_srgb(format):
    red = Image.new("RGB", (16, 16), (230, 20, 20))
    profile = swapped_profile()
    expected = ImageCms.profileToProfile(
        red,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    stored = encode(file_of(red, format, icc_profile=profile))
    assert distance(pixels_of(stored.data), np.asarray(expected)) <= JPEG_LOSS


def grey_profile(gamma: float) -> bytes:
    """Returns an ICC profile (version 2) of grey with a gamma."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + struct.pack(">Iiii", 0, 63190, 65536, 54061)
    tags = struct.pack(">I", 2)
    tags += struct.pack(">4sII4sII", b"wtpt", 156, 20, b"kTRC", 176, 14)
    length = struct.pack(">I", 128 + len(tags) + len(white) + len(curve))
    head = length + bytes(4) + b"\2\x40\0\0" + b"mntrGRAYXYZ " + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + tags + white + curve


@pytest.mark.parametrize("transparent", [False, True])
def test_grey_of_16_bits_is_brought_to_srgb_too(transparent):
    profile = grey_profile(1.0)
    row = b"\0" + struct.pack(">16H", *[0] * 8, *[0x4000] * 8)
    data = png(
        (16, 16, 16, 0, 0),
        (b"iCCP", b"grey\0\0" + zlib.compress(profile)),
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


# Damage.


def test_a_png_of_a_palette_that_lacks_it_is_damaged():
    row = (b"IDAT", zlib.compress(b"\0\0\1" * 2))
    assert refusal(png((2, 2, 8, 3, 0), row)).reason == "damaged_image"


JPEGS = {
    "baseline": file_of(noisy(), "JPEG"),
    "progressive": file_of(noisy(), "JPEG", progressive=True),
    "optimized": file_of(noisy(), "JPEG", optimize=True, quality=97),
    "restarts": file_of(noisy(), "JPEG", restart_marker_rows=1),
    "4:4:4": file_of(noisy(), "JPEG", subsampling=0),
    "grey": file_of(noisy().convert("L"), "JPEG"),
    "CMYK": file_of(noisy().convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_short_is_refused_at_any_length(kind):
    data = JPEGS[kind]
    lengths = random.Random(0).sample(range(len(data)), 150)
    for length in {*lengths, *range(len(data) - 8, len(data))}:
        error = refusal(data[:length])
        assert error.reason in ("not_an_image", "damaged_image"), length


@pytest.mark.parametrize(
    "kind", ["baseline", "optimized", "restarts", "4:4:4", "grey", "CMYK"]
)
def test_a_jpeg_cut_short_and_closed_again_is_refused(kind):
    data = JPEGS[kind]
    scan = data.index(b"\xff\xda") + 64
    for length in random.Random(1).sample(range(scan, len(data) - 64), 40):
        error = refusal(data[:length] + b"\xff\xd9")
        assert error.reason == "damaged_image"


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def oddly_sampled_jpeg(light: np.ndarray) -> bytes:
    """Returns a JPEG of flat squares whose chroma has a third of the columns.

    TurboJPEG has no name for that sampling.

    Args:
        light: uint8[rows, columns], one for each square of 8 × 8 pixels; columns are
            a multiple of 3.
    """
    bits, before = [], 128
    for row in light.tolist():
        for column, value in enumerate(row):
            step = value - before
            size = abs(step).bit_length()
            low = step + (1 << size) - 1 if step < 0 else step
            # The size, the step itself, end of block.
            bits.append(f"{size:04b}" + (f"{low:0{size}b}" if size else "") + "0")
            before = value
            if column % 3 == 2:
                bits.append("00000" * 2)  # Both chromas: no step, end of block.
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8).replace(b"\xff", b"\xff\0")
    height, width = light.shape[0] * 8, light.shape[1] * 8
    components = b"\1\x31\0\2\x11\0\3\x11\0"
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, b"\0" + b"\10" * 64),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components),
            # Twelve codes of four bits for sizes of steps, one of one bit.
            segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + 12 * [0]) + bytes(range(12))),
            segment(0xC4, b"\x10" + bytes([1] + 15 * [0]) + b"\0"),
            segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0"),
            scan,
            b"\xff\xd9",
        )
    )


SQUARES = np.random.default_rng(0).integers(20, 230, (6, 9))


def test_a_jpeg_of_odd_sampling_is_read():
    expected = np.kron(SQUARES, np.ones((8, 8)))[..., None].repeat(3, axis=2)
    stored = encode(oddly_sampled_jpeg(SQUARES))
    assert distance(pixels_of(stored.data), expected) <= JPEG_LOSS


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="it goes through Pillow, which passes over libjpeg's warnings",
)
def test_a_jpeg_of_odd_sampling_cut_short_and_closed_again_is_refused():
    refusal(oddly_sampled_jpeg(SQUARES)[:-30] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["baseline", "optimized", "4:4:4", "grey"])
def test_a_jpeg_with_a_large_hole_is_refused(kind):
    # Of holes smaller than a block of pixels, libjpeg notices four in five.
    data = JPEGS[kind]
    scan = data.index(b"\xff\xda") + 80
    assert refusal(data[:scan] + data[-80:]).reason == "damaged_image"


@pytest.mark.parametrize("more", [b"\0" * 40, b"trailer of a camera", b"\xff\xd8\xff"])
def test_what_follows_the_end_of_a_jpeg_is_no_damage(more):
    assert encode(JPEGS["baseline"] + more).data == encode(JPEGS["baseline"]).data


def test_stray_bytes_before_the_first_scan_of_a_jpeg_are_benign():
    data = JPEGS["baseline"]
    tables = data.index(b"\xff\xdb")
    assert encode(data[:tables] + b"\0\1\2" + data[tables:]).data == encode(data).data


def idat_of(data: bytes) -> tuple[int, int]:
    """Returns where the pixels of a PNG lie, and where the chunk ends."""
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
    ids=["colour", "stored", "palette", "grey", "alpha"],
)
def test_a_png_cut_short_is_refused_at_any_length(data):
    lengths = random.Random(2).sample(range(len(data)), 150)
    for length in {*lengths, *range(len(data) - 25, len(data))}:
        error = refusal(data[:length])
        assert error.reason in ("not_an_image", "damaged_image")


@pytest.mark.parametrize(
    "data",
    [file_of(noisy(), "PNG"), file_of(noisy().quantize(16), "GIF")],
    ids=["PNG", "GIF"],
)
def test_a_file_that_lacks_its_very_end_is_refused(data):
    refusal(data[:-1])


def test_a_png_whose_pixels_do_not_match_their_checksum_is_refused():
    data = bytearray(file_of(noisy(), "PNG"))
    data[idat_of(bytes(data))[1]] ^= 1
    assert refusal(bytes(data)).reason == "damaged_image"


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
            # Of an animation, only the first frame counts.
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


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
NO_IMAGES = {
    "empty": b"",
    "one byte": b"\xff",
    "random": random.Random(5).randbytes(5000),
    "HTML": HTML,
    "text": "ein Bild, wörtlich".encode(),
    "PDF": b"%PDF-1.7\n" + bytes(200),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PPM, which is not on the list": b"P6 1 1 255\n\1\2\3",
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_bytes_that_are_no_image_are_refused(kind):
    error = refusal(NO_IMAGES[kind])
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
    assert refusal(HEADERS_BEYOND_READING[kind]).reason == "damaged_image"


@pytest.mark.parametrize("kind", [*NO_IMAGES, *HEADERS_BEYOND_READING])
def test_a_refusal_reads_the_same_in_every_run(kind):
    data = (NO_IMAGES | HEADERS_BEYOND_READING)[kind]
    assert not re.search("0x[0-9a-f]{6,}|object at", refusal(data).detail)


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else(data):
    refusal(data, max_pixels=10_000)


# Too many pixels: told by the header, for nothing follows it in these.


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan


def tiff_header(width: int, height: int) -> bytes:
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 278: height}
    values |= {277: 1, 279: width * height % 2**32}
    fields = [
        struct.pack("<HHII", *(tag, 4, 1, v)) for tag, v in sorted(values.items())
    ]
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(fields) + bytes(4)


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def gif_header(width: int, height: int) -> bytes:
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + frame + b"\2\0;"


BOMBS = {
    "PNG": png((2**31 - 1, 2**31 - 1, 8, 2, 0)),
    "grey PNG": png((50_000, 50_000, 1, 0, 0)),
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
    error = refusal(data, max_pixels=2399)
    assert error.reason == "too_many_pixels"
    assert "60 × 40" in error.detail


# What is stored.


def markers_of(jpeg: bytes) -> list[int]:
    """Returns the markers of a JPEG up to its pixels."""
    markers, place = [], 2
    while not markers or markers[-1] != 0xDA:
        assert jpeg[place] == 0xFF
        markers.append(jpeg[place + 1])
        place += 2 + struct.unpack(">H", jpeg[place + 2 : place + 4])[0]
    return markers


def telling_files() -> Iterator[tuple[str, bytes]]:
    """Yields files that tell more than a picture."""
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    exif[ORIENTATION] = 6
    exif[GPS] = {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    yield "JPEG", file_of(smooth(), "JPEG", comment=b"Secret", xmp=b"Secret", **more)
    yield "PNG", file_of(smooth(), "PNG", **more)
    yield "WebP", file_of(smooth(), "WEBP", xmp=b"Secret", **more)


TELLING = dict(telling_files())


@pytest.mark.parametrize("kind", TELLING)
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_what_is_stored_is_a_plain_baseline_jpeg(kind, subsampling):
    spec = dataclasses.replace(AS_BUILT, subsampling=subsampling)
    stored = encode(TELLING[kind], spec).data
    luma = {"420": (2, 2), "444": (1, 1)}[subsampling]
    with Image.open(io.BytesIO(stored)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert image.layers == 3
        assert [layer[1:3] for layer in image.layer] == [luma, (1, 1), (1, 1)]
        assert not {"progressive", "progression"} & set(image.info)
    # APP0 (JFIF), tables, a baseline frame, the scan.
    assert set(markers_of(stored)) == {0xE0, 0xDB, 0xC0, 0xC4, 0xDA}


@pytest.mark.parametrize("kind", TELLING)
def test_nothing_of_where_and_with_what_a_picture_was_taken_is_stored(kind):
    assert b"Secret" in TELLING[kind]
    stored = encode(TELLING[kind], AS_BUILT).data
    with Image.open(io.BytesIO(stored)) as image:
        assert not dict(image.getexif())
        assert not {"exif", "icc_profile", "comment", "xmp"} & set(image.info)
    for word in (b"Secret", b"Exif", b"ICC_PROFILE", b"http:"):
        assert word not in stored


@pytest.mark.parametrize("quality", [1, 50, 90, 100])
def test_quality_is_that_of_libjpeg(quality):
    stored = encode(TELLING["PNG"], dataclasses.replace(AS_BUILT, quality=quality)).data
    with (
        Image.open(io.BytesIO(stored)) as image,
        Image.open(io.BytesIO(file_of(smooth(), "JPEG", quality=quality))) as pillows,
    ):
        assert image.quantization == pillows.quantization


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
def test_what_was_done_is_told_in_order(data, actions):
    assert encode(data, AS_BUILT).actions == actions


def test_the_same_bytes_give_the_same_bytes():
    data = file_of(noisy(300, 400), "JPEG")
    assert encode(data, AS_BUILT) == encode(data, AS_BUILT)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_for_other_pixels_is_passed_over(mode):
    image = Image.new("RGB", (16, 16), (230, 20, 20)).convert(mode)
    plain = encode(file_of(image, "TIFF"))
    profiled = encode(file_of(image, "TIFF", icc_profile=swapped_profile()))
    assert profiled.data == plain.data


def test_colours_under_transparency_are_brought_to_srgb_before_white_is_added():
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


@pytest.mark.parametrize("format", ["png", "raw"])
def test_only_jpeg_has_an_end_to_its_sides(format):
    long = file_of(Image.new("L", (66_000, 2), 9), "PNG")
    spec = dataclasses.replace(FINEST, format=format)
    assert encode(long, spec).width == 66_000


def test_enlarging_beyond_the_limit_on_pixels_is_refused():
    spec = dataclasses.replace(
        FINEST, format="png", resize="shorter_side", size=1000, upscale=True
    )
    error = refusal(file_of(Image.new("L", (500, 1)), "PNG"), spec=spec, max_pixels=999)
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
    assert refusal(data).reason == "unsupported_image"


def test_every_png_of_pngsuite_looks_as_pillow_shows_it(shared_data):
    folder = shared_data / "images" / "pngsuite"
    spec, written = dataclasses.replace(FINEST, format="raw"), 0
    for file in sorted(folder.glob("*.png")):
        data = file.read_bytes()
        if file.name.startswith("x"):
            assert refusal(data).reason in ("not_an_image", "damaged_image")
            continue
        stored = encode(data, spec)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode.startswith("I;16"):
                grey = np.asarray(image)
                clear = grey == image.info.get("transparency", -1)
                expected = np.where(clear, 255, grey >> 8)[..., None].repeat(3, axis=2)
            else:
                expected = over_white(image)
        shape = (stored.height, stored.width, 3)
        found = np.frombuffer(stored.data, np.uint8).reshape(shape)
        assert distance(found, expected) <= 1, file.name
        written += 1
    assert written >= 160
