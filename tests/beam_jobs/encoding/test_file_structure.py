"""Tests that truncated files are rejected, even if decoders accept them."""

import io
import random
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import SourceImage
from reader.contract.manifest import ImageSpec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RAW = ImageSpec(format="raw", quality=90, subsampling="420", resize="none", size=1)


def encode(data: bytes) -> bytes:
    return SourceImage(data, max_pixels=1_000_000).encode(RAW).data


def noisy(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def described() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def files(height: int, width: int) -> dict[str, bytes]:
    rgb = noisy(height, width)
    palette, bits = rgb.quantize(16), rgb.convert("1")
    alpha = rgb.copy()
    alpha.putalpha(100)
    more: dict[str, Any] = {"save_all": True, "append_images": [noisy(height, width)]}
    exif = described()
    made = {
        "PNG": file_of(rgb, "PNG"),
        "palette PNG": file_of(palette, "PNG"),
        "GIF": file_of(palette, "GIF"),
        "animated GIF": file_of(palette, "GIF", **more),
        "WebP": file_of(rgb, "WEBP"),
        "lossless WebP": file_of(alpha, "WEBP", lossless=True),
        "described WebP": file_of(rgb, "WEBP", exif=exif),
        "BMP": file_of(rgb, "BMP"),
        "BMP of bits": file_of(bits, "BMP"),
        "TIFF": file_of(rgb, "TIFF"),
        "described TIFF": file_of(rgb, "TIFF", exif=exif),
        "BigTIFF": file_of(rgb, "TIFF", big_tiff=True),
        "AVIF": file_of(rgb, "AVIF"),
        "described AVIF": file_of(alpha, "AVIF", exif=exif),
        "animated AVIF": file_of(rgb, "AVIF", **more),
        "JPEG": file_of(rgb, "JPEG"),
        "progressive JPEG": file_of(rgb, "JPEG", progressive=True),
        "CMYK JPEG": file_of(rgb.convert("CMYK"), "JPEG"),
    }
    for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        made[f"TIFF of {name}"] = file_of(rgb, "TIFF", compression=name)
    made["TIFF of group4"] = file_of(bits, "TIFF", compression="group4")
    return made


SMALL, LARGE = files(5, 7), files(60, 90)
REASONS = ("not_an_image", "damaged_image")


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_file_cut_at_any_byte_is_refused(kind):
    data = SMALL[kind]
    assert len(encode(data)) == 5 * 7 * 3
    for length in range(len(data)):
        with pytest.raises(BadInput) as caught:
            encode(data[:length])
        assert caught.value.reason in REASONS, length


@pytest.mark.parametrize("kind", LARGE)
def test_a_larger_file_cut_anywhere_is_refused(kind):
    data = LARGE[kind]
    assert len(encode(data)) == 60 * 90 * 3
    lengths = random.Random(0).sample(range(len(data)), 60)
    for length in {*lengths, *range(len(data) - 12, len(data))}:
        with pytest.raises(BadInput) as caught:
            encode(data[:length])
        assert caught.value.reason in REASONS, length


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("more", [b"\0", b"\r\n", b"trailing garbage", bytes(4000)])
def test_what_follows_a_whole_file_is_no_damage(kind, more):
    assert encode(SMALL[kind] + more) == encode(SMALL[kind])


@pytest.mark.parametrize("order", "<>")
def test_big_endian_tiffs_are_walked_too(order):
    pixels = bytes(range(16))
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 278: 4, 279: 16}
    tags[273] = 8 + 2 + 12 * 9 + 4
    entries = [struct.pack(order + "HHII", t, 4, 1, v) for t, v in sorted(tags.items())]
    magic = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    ifd = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    data = magic + ifd + pixels
    with Image.open(io.BytesIO(data)) as image:
        assert encode(data) == image.convert("RGB").tobytes()
    for length in range(len(data)):
        with pytest.raises(BadInput):
            encode(data[:length])


def test_directories_that_point_at_each_other_come_to_an_end():
    data = bytearray(file_of(noisy(5, 7), "TIFF"))
    (place,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, place)
    struct.pack_into("<I", data, place + 2 + 12 * number, place)
    assert encode(bytes(data)) == noisy(5, 7).tobytes()


def test_a_directory_beyond_any_memory_is_a_cut_file():
    with pytest.raises(BadInput) as caught:
        encode(b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1) + bytes(64))
    assert caught.value.reason == "damaged_image"


def tag(number: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", number, kind, count, value)


def tiff(*tags: bytes, size: int) -> bytes:
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    return head + bytes(size)


SMALL_TAGS = [tag(256, 4, 1, 9), tag(257, 4, 1, 9), tag(258, 4, 1, 8)]
GREEDY = {
    "many strips": tiff(*SMALL_TAGS, tag(273, 4, 3_000_000, 200), size=12_001_000),
    "shared values": tiff(
        *SMALL_TAGS,
        *(tag(50_000 + n, 1, 1_000_000, 4000) for n in range(200)),
        size=1_010_000,
    ),
    "huge tiles": tiff(
        *SMALL_TAGS, tag(322, 4, 1, 40_000), tag(323, 4, 1, 40_000), size=99
    ),
}


@pytest.mark.parametrize("kind", GREEDY)
def test_a_tiff_that_asks_for_absurd_memory_is_refused_before_pillow_sees_it(
    kind, monkeypatch
):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(BadInput):
        SourceImage(GREEDY[kind], max_pixels=1_000_000)


@pytest.mark.parametrize("chunk", [b"VP8X", b"VP8L", b"VP8 "])
def test_the_size_of_a_webp_is_checked_before_pillow_sees_it(chunk, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    data = b"RIFF" + struct.pack("<I", 60) + b"WEBP" + chunk + b"\xff" * 48
    with pytest.raises(BadInput) as caught:
        SourceImage(data, max_pixels=1_000_000)
    assert caught.value.reason == "too_many_pixels"


def gif(canvas: tuple[int, int], place: tuple[int, int, int, int]) -> bytes:
    # With a disposal method of 2, Pillow allocates the canvas while opening the file.
    control = b"!\xf9\4\x08\0\0\0\0"
    frame = b"," + struct.pack("<4HB", *place, 0) + b"\2\0;"
    return b"GIF89a" + struct.pack("<HHBBB", *canvas, 0, 0, 0) + control + frame


@pytest.mark.parametrize(
    ("canvas", "place"),
    [
        ((65_535, 65_535), (0, 0, 1, 1)),
        ((1, 1), (0, 0, 65_535, 65_535)),
        ((1, 1), (65_000, 65_000, 9, 9)),
    ],
)
def test_the_size_of_a_gif_is_checked_before_pillow_sees_it(canvas, place, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(BadInput) as caught:
        SourceImage(gif(canvas, place), max_pixels=1_000_000)
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.parametrize("place", [(0, 0, 4, 5), (3, 1, 20, 7), (0, 30, 2, 2)])
def test_the_size_of_a_gif_is_pillows(place):
    data = gif((10, 12), place)
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    assert SourceImage(data, max_pixels=width * height).width == width
    with pytest.raises(BadInput, match=f"{width} × {height}"):
        SourceImage(data, max_pixels=width * height - 1)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exact": True}])
@pytest.mark.parametrize("alpha", [False, True])
def test_the_size_of_a_webp_is_pillows(options, alpha):
    image = noisy(123, 45)
    if alpha:
        image.putalpha(100)
    data = file_of(image, "WEBP", **options)
    assert SourceImage(data, max_pixels=123 * 45).height == 123
    with pytest.raises(BadInput, match="45 × 123"):
        SourceImage(data, max_pixels=123 * 45 - 1)


def test_a_wrong_checksum_of_any_chunk_is_damage():
    data = file_of(noisy(5, 7), "PNG", pnginfo=None)
    place = data.index(b"IEND") + 4
    broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(BadInput, match="IEND"):
        encode(broken)


# Sizes and offsets in headers.


def gif_with_a_frame_at(left: int, top: int, width: int, height: int) -> bytes:
    data = bytearray(file_of(noisy(4, 4).convert("P"), "GIF"))
    place = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    struct.pack_into("<4H", data, place + 1, left, top, width, height)
    return bytes(data)


def test_a_gif_whose_first_image_reaches_beyond_its_canvas_is_measured_with_it():
    # Pillow extends the canvas to contain the image before it reports the size.
    with pytest.raises(BadInput) as caught:
        encode(gif_with_a_frame_at(60_000, 60_000, 4, 4))
    assert caught.value.reason == "too_many_pixels"
    assert "60004 × 60004" in caught.value.detail
    assert len(encode(gif_with_a_frame_at(0, 0, 4, 4))) == 4 * 4 * 3


@pytest.mark.parametrize("place", [8, 1 << 20, 1 << 31, (1 << 32) - 1])
def test_a_tiff_whose_directory_lies_beyond_its_end_is_damaged(place):
    with pytest.raises(BadInput) as caught:
        encode(struct.pack("<2sHI", b"II", 42, place))
    assert caught.value.reason == "damaged_image"


@pytest.mark.parametrize("place", [16, 1 << 40, (1 << 64) - 1])
def test_a_big_tiff_whose_directory_lies_beyond_its_end_is_damaged(place):
    with pytest.raises(BadInput) as caught:
        encode(struct.pack("<2sHHHQ", b"II", 43, 8, 0, place))
    assert caught.value.reason == "damaged_image"
