"""Tests GIF, WebP and AVIF: first frames, and pixels against imagecodecs."""

import dataclasses
import io
import struct
import time

import imagecodecs
import numpy as np
import pytest
from image_files import FINEST, encode, file_of, over_white, rejection, smooth
from patience import SOON_SECONDS
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RAW = dataclasses.replace(FINEST, format="raw")
CANVAS = (40, 30)
PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 80, 70]])
INDEX = np.random.default_rng(0).integers(0, 4, (8, 10))
CONTROL = b"!\xf9\4\0\0\0\0\0"
CLEAR = b"!\xf9\4\1\0\0\2\0"  # The third color is clear.


def stored(data: bytes) -> np.ndarray:
    image = encode(data, RAW)
    found = np.frombuffer(image.data, np.uint8)
    return found.reshape(image.height, image.width, 3)


def coded(index: np.ndarray) -> bytes:
    """Returns the coded data of a GIF's image, as Pillow writes it."""
    image = Image.fromarray(index.astype(np.uint8), "P")
    image.putpalette(PALETTE.astype(np.uint8).tobytes())
    data = file_of(image, "GIF", optimize=False)
    frame = data.index(b",", 13 + 3 * 4)
    return data[frame + 10 : -1]


def gif(
    place: tuple[int, int],
    before: bytes = b"",
    *,
    background: int = 1,
    more: bytes = b"",
    local: bool = False,
    index: np.ndarray = INDEX,
) -> bytes:
    colors = PALETTE.astype(np.uint8).tobytes()
    height, width = index.shape
    flags = 0x81 if local else 0
    frame = b"," + struct.pack("<4HB", *place, width, height, flags)
    frame += (colors if local else b"") + coded(index)
    table = b"" if local else colors
    head = struct.pack("<HHBBB", *CANVAS, 0 if local else 0x81, background, 0)
    return b"GIF89a" + head + table + before + frame + more + b";"


def on_white(place: tuple[int, int], pixels: np.ndarray) -> np.ndarray:
    left, top = place
    canvas = np.full((CANVAS[1], CANVAS[0], 3), 255)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


COLORS = PALETTE[INDEX]
CLEARED = np.where((INDEX == 2)[..., None], 255, COLORS)


@pytest.mark.parametrize("place", [(0, 0), (5, 6), (30, 22), (0, 22), (30, 0)])
@pytest.mark.parametrize("background", [0, 1, 3, 200])
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(
    ("before", "pixels"),
    [(b"", COLORS), (CONTROL, COLORS), (CLEAR, CLEARED), (CLEAR + CONTROL, COLORS)],
    ids=["plain", "opaque", "clear", "the last control"],
)
def test_around_the_first_frame_of_a_gif_is_white(
    place, background, local, before, pixels
):
    data = gif(place, before, background=background, local=local)
    assert (stored(data) == on_white(place, pixels)).all()


@pytest.mark.parametrize("disposal", range(4))
def test_later_frames_of_a_gif_do_not_matter(disposal):
    control = b"!\xf9\4" + bytes([disposal << 2, 9, 0, 0, 0])
    later = control + b"," + struct.pack("<4HB", 0, 0, 10, 8, 0) + coded(INDEX)
    assert (stored(gif((5, 6), control, more=later)) == on_white((5, 6), COLORS)).all()


def test_a_first_frame_beyond_the_canvas_extends_it():
    found = stored(gif((35, 25)))
    assert found.shape == (33, 45, 3)
    assert (found[25:, 35:] == COLORS).all()
    assert (found[:25] == 255).all()


def blocks_of(data: bytes) -> bytes:
    parts = (data[n : n + 255] for n in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


@pytest.mark.parametrize("label", [b"!\xfe", b"!\xff", b"!\x01"])
@pytest.mark.parametrize("after", [False, True])
def test_megabytes_of_comments_take_no_time(label, after):
    comment = label + blocks_of(b"x" * 10_000_000)
    place = {"more": comment} if after else {"before": comment}
    started = time.monotonic()
    found = stored(gif((0, 0), **place))
    assert time.monotonic() - started < SOON_SECONDS
    assert (found == on_white((0, 0), COLORS)).all()


def test_a_gif_without_its_trailer_or_inside_its_frame_is_damaged():
    data = gif((5, 6))
    for length in (len(data) - 1, len(data) - 9, 40, 20, 12, 7):
        assert rejection(data[:length]).reason == "damaged_image"


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def animated_webp(
    place: tuple[int, int], *, has_alpha: bool, background: bytes
) -> bytes:
    pixels = file_of(Image.fromarray(COLORS.astype(np.uint8)), "WEBP", lossless=True)
    header = b"".join(
        struct.pack("<I", value)[:3]
        for value in (place[0] // 2, place[1] // 2, 10 - 1, 8 - 1, 100)
    )
    frame = chunk(b"ANMF", header + b"\0" + pixels[12:])
    canvas = struct.pack("<I", CANVAS[0] - 1)[:3] + struct.pack("<I", CANVAS[1] - 1)[:3]
    flags = bytes([0x12 if has_alpha else 2, 0, 0, 0])
    body = b"WEBP" + chunk(b"VP8X", flags + canvas)
    body += chunk(b"ANIM", background + b"\0\0") + frame + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("place", [(0, 0), (4, 6), (30, 22)])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("background", [bytes(4), b"\xff" * 4, b"\x10\x80\x20\xff"])
def test_around_the_first_frame_of_a_webp_is_white(place, has_alpha, background):
    data = animated_webp(place, has_alpha=has_alpha, background=background)
    assert (stored(data) == on_white(place, COLORS)).all()


def decoded_over_white(decoded: np.ndarray, bits: int) -> np.ndarray:
    """Returns what imagecodecs decodes, laid over white, as float of 255 levels."""
    light = np.atleast_3d(decoded).astype(float) / (2**bits - 1)
    number = 1 if light.shape[2] < 3 else 3
    color = light[..., :number]
    alpha = light[..., number:] if light.shape[2] > number else 1
    return np.broadcast_to(color * alpha + 1 - alpha, (*light.shape[:2], 3)) * 255


def ramp(channels: int, bits: int) -> np.ndarray:
    rgb = np.asarray(smooth()).astype(float) / 255
    whole = np.concatenate((rgb, rgb[..., :1]), axis=-1)[..., :channels]
    values = (whole * (2**bits - 1)).round()
    return np.squeeze(values.astype(np.uint8 if bits == 8 else np.uint16))


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("sampling", ["444", "422", "420", "400"])
@pytest.mark.parametrize(("level", "most"), [(100, 1.5), (95, 6)])
def test_avif_of_any_depth_and_sampling_is_read(bits, channels, sampling, level, most):
    # With loss, libavif converts luma and chroma of 8 bits, by other filters.
    data = imagecodecs.avif_encode(
        ramp(channels, bits),
        level=level,
        speed=9,
        bitspersample=bits,
        pixelformat=sampling,
    )
    decoded = imagecodecs.avif_decode(data)
    depth = 8 if decoded.dtype == np.uint8 else bits
    assert np.abs(stored(data) - decoded_over_white(decoded, depth)).max() <= most


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", [{"lossless": True}, {"level": 80}])
def test_webp_with_and_without_alpha_is_read(channels, options):
    data = imagecodecs.webp_encode(ramp(channels, 8), **options)
    decoded = imagecodecs.webp_decode(data)
    assert np.abs(stored(data) - decoded_over_white(decoded, 8)).max() <= 1.5


def test_a_gif_of_every_mode_of_pillow_is_what_it_was():
    for mode in ("L", "P", "RGB", "RGBA"):
        data = file_of(smooth().convert(mode), "GIF")
        with Image.open(io.BytesIO(data)) as image:
            assert np.abs(stored(data) - over_white(image).astype(int)).max() <= 1
