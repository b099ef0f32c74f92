"""Image files of every kind, with the pixels that decoding must produce."""

import io
import zlib
from collections.abc import Iterator

import numpy as np
from image_files import (
    file_of,
    over_white,
    pixels_of,
    png,
    smooth,
    two_pictures,
    with_alpha,
)
from PIL import Image


def gray_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    gray = smooth().convert("L")
    expected = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
    for format in ("PNG", "BMP", "TIFF"):
        yield f"gray {format}", file_of(gray, format), expected
    jpeg = file_of(gray, "JPEG")
    yield "gray JPEG", jpeg, pixels_of(jpeg)
    with_transparency = gray.convert("LA")
    with_transparency.putalpha(with_alpha(smooth()).getchannel("A"))
    data = file_of(with_transparency, "PNG")
    yield "gray and alpha PNG", data, over_white(with_transparency)
    deep = np.linspace(0, 65535, 40 * 60).astype(np.uint16).reshape(40, 60)
    upper = np.repeat((deep // 256).astype(np.uint8)[..., None], 3, axis=2)
    for format in ("PNG", "TIFF"):
        data = file_of(Image.fromarray(deep), format)
        yield f"16-bit gray {format}", data, upper
    bits = Image.new("1", (64, 40))
    bits.paste(1, (0, 0, 64, 16))
    yield "black and white PNG", file_of(bits, "PNG"), np.asarray(bits.convert("RGB"))


def palette_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    # Large flat areas in a few colors, which JPEG stores with little loss.
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
        yield f"palette with a clear color {format}", data, clear
    half = file_of(flat, "PNG", transparency=bytes([255, 128, 0, 64]))
    with Image.open(io.BytesIO(half)) as image:
        yield "palette with half-clear colors PNG", half, over_white(image)


def color_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    rgb = smooth()
    for format in ("PNG", "BMP", "TIFF"):
        yield f"color {format}", file_of(rgb, format), np.asarray(rgb)
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
        yield f"color {name}", data, pixels_of(data)
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


# (name, file, uint8[height, width, 3]) of each kind.
FILES = [*gray_files(), *palette_files(), *color_files(), *cmyk_files(), *animations()]
