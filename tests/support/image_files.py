"""Draws images, writes them in any format, and encodes them as the job does."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import EncodedImage, SourceImage
from reader.contract.manifest import ImageSpec
from reader.contract.rejects import REASONS

ORIENTATION = 0x0112

# The highest JPEG quality, so that comparisons do not measure the loss of JPEG.
FINEST = ImageSpec(format="jpeg", quality=100, subsampling="444", resize="none", size=1)
AS_BUILT = ImageSpec(
    format="jpeg", quality=90, subsampling="420", resize="shorter_side", size=256
)
# Maximum error of `FINEST` on a smooth picture, in levels of 255.
JPEG_LOSS = 4

MAX_PIXELS = 100_000_000


def encode(
    data: bytes, spec: ImageSpec = FINEST, *, max_pixels: int = MAX_PIXELS
) -> EncodedImage:
    return SourceImage(data, max_pixels=max_pixels).encode(spec)


def rejection(data: bytes, **more: Any) -> BadInput:
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
    """Returns a picture that differs from each of its rotations and reflections."""
    down, right = np.mgrid[:height, :width] / [[[height]], [[width]]]
    channels = (right * 250, down * 250, 250 * (1 - down) * (1 - right))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def noisy(height: int = 48, width: int = 64, seed: int = 0) -> Image.Image:
    """Returns a picture that compresses badly in every format."""
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


def oriented(image: Image.Image, format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if format == "WEBP" else {}
    return file_of(image, format, exif=exif, **lossless)


def two_pictures(format: str, **options: Any) -> bytes:
    second = [smooth().transpose(Image.Transpose.ROTATE_180)]
    return file_of(smooth(), format, save_all=True, append_images=second, **options)


def png_chunk(name: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + crc


def png(header: tuple[int, ...], *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG; `header` is (width, height, depth, color type, interlaced)."""
    width, height, depth, color, interlaced = header
    first = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    named = ((b"IHDR", first), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in named)


def tiff_header(width: int, height: int) -> bytes:
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 278: height}
    values |= {277: 1, 279: width * height % 2**32}
    fields = [
        struct.pack("<HHII", *(tag, 4, 1, v)) for tag, v in sorted(values.items())
    ]
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(fields) + bytes(4)


def swapped_profile() -> bytes:
    """Returns an ICC profile that swaps red and green."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"TEMP", 1).replace(b"gXYZ", b"rXYZ", 1)
    return swapped.replace(b"TEMP", b"gXYZ", 1)
