"""Images: bytes of a file to checked, upright, resized and encoded bytes.

Pure functions; what cannot be used raises `BadInput`. The codecs release the GIL, so
threads run in parallel.
"""

import contextlib
import hashlib
import io
import re
import struct
import warnings
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from beam_jobs.colour import cmyk_to_srgb, pixels_to_srgb
from beam_jobs.elements import BadInput
from reader.contract.manifest import ImageSpec

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

_ORIENTATION = 0x0112
# The EXIF orientations as (transpose first, flip upside down, flip left to right).
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

# What Pillow raises on bytes that it cannot make sense of. There is no file behind the
# bytes, so an OSError here speaks of the data too.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)

# libjpeg's limit (JPEG_MAX_DIMENSION).
_JPEG_MAX_SIDE = 65_500

# How files of these formats begin.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftypavi", re.S
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

# Metadata beyond reading is no news to a person who builds a dataset.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# One thread per image, and the same pixels on every machine: IPP has other rounding.
cv2.setNumThreads(1)
cv2.ipp.setUseIPP(False)
# Our own limit, --max_pixels, is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class EncodedImage(NamedTuple):
    """An image as it is stored, and what it was before.

    Attributes:
        data: The encoded bytes.
        height, width: As stored, in pixels.
        source_format: `jpeg`, `png`, …: by content, not by name.
        source_height, source_width: As encoded in the file, before being turned.
        sha256: Hex digest of the source's bytes.
        actions: What was done to it, in order: `converted`, `oriented`, `resized`,
            `to_srgb`.
    """

    data: bytes
    height: int
    width: int
    source_format: str
    source_height: int
    source_width: int
    sha256: str
    actions: tuple[str, ...]


class _OddSampling(Exception):
    """A JPEG with chroma sampling that TurboJPEG has no name for; Pillow reads it."""


class SourceImage:
    """An image file whose header was read, and whose pixels were not yet decoded."""

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        """Reads the header.

        Raises:
            BadInput: It is no image, of no format we read, or larger than allowed.
        """
        if not data:
            raise BadInput("not_an_image", "the file is empty")
        self._data = data
        try:
            self._image = Image.open(io.BytesIO(data), formats=FORMATS)
        except _DECODING_ERRORS as error:
            begins = f"begins with {data[:8].hex(' ')}"
            if _MAGIC.match(data):
                raise BadInput(
                    "damaged_image", f"{begins}, but its header cannot be read"
                ) from error
            raise BadInput("not_an_image", begins) from error
        self.width, self.height = self._image.size
        # MPO is a JPEG with more pictures behind it, as some cameras write.
        self.format = (self._image.format or "").replace("MPO", "JPEG").lower()
        if self.width * self.height > max_pixels:
            raise BadInput(
                "too_many_pixels",
                f"{self.width} × {self.height}, more than {max_pixels} in all",
            )

    @property
    def decoded_bytes(self) -> int:
        """About how much memory decoding takes; Pillow makes copies on the way."""
        copies = 1 if self.format == "jpeg" else 4
        return self.width * self.height * 3 * copies

    def encode(self, spec: ImageSpec) -> EncodedImage:
        """Returns the image decoded, upright, resized and encoded again.

        Raises:
            BadInput: The data is damaged or cut short.
        """
        pixels = self._decode()
        actions = [] if self._is_plain_jpeg else ["converted"]
        orientation = self._orientation()
        if orientation in _TURNS:
            pixels = turn_upright(pixels, orientation)
            actions.append("oriented")
        resized = resize(pixels, spec)
        if max(resized.shape) > _JPEG_MAX_SIDE:
            raise BadInput(
                "unsupported_image",
                f"{self.width} × {self.height}: a side longer than the "
                f"{_JPEG_MAX_SIDE} pixels of JPEG",
            )
        if resized is not pixels:
            actions.append("resized")
        # After resizing: there are fewer pixels to convert.
        profile = self._image.info.get("icc_profile")
        in_srgb = pixels_to_srgb(resized, profile, self._image.mode)
        if in_srgb is not None:
            actions.append("to_srgb")
            resized = in_srgb
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(resized),
            quality=spec.quality,
            colorspace="RGB",
            colorsubsampling=spec.subsampling,
        )
        height, width = resized.shape[:2]
        return EncodedImage(
            data=data,
            height=height,
            width=width,
            source_format=self.format,
            source_height=self.height,
            source_width=self.width,
            sha256=hashlib.sha256(self._data).hexdigest(),
            actions=tuple(actions),
        )

    @property
    def _is_plain_jpeg(self) -> bool:
        return self.format == "jpeg" and self._image.mode in ("RGB", "L")

    def _decode(self) -> Pixels:
        """Returns uint8[height, width, 3] as the file has it."""
        try:
            if self._is_plain_jpeg:
                with contextlib.suppress(_OddSampling):
                    return self._decode_jpeg("RGB")
            self._check_strictly()
            self._image.load()
            return to_rgb(self._image)
        except _DECODING_ERRORS as error:
            # A library may show objects, and where they lie is not the same twice.
            detail = _ADDRESS.sub("", str(error)) or type(error).__name__
            raise BadInput("damaged_image", detail) from error

    def _check_strictly(self) -> None:
        """Finds the damage that Pillow passes over while it decodes."""
        if self.format == "png":
            with Image.open(io.BytesIO(self._data)) as image:
                image.verify()
        elif self.format == "jpeg" and self._image.mode == "CMYK":
            with contextlib.suppress(_OddSampling):
                self._decode_jpeg("CMYK")

    def _decode_jpeg(self, colorspace: str) -> Pixels:
        try:
            pixels = simplejpeg.decode_jpeg(self._data, colorspace, strict=True)
            return np.asarray(pixels, np.uint8)
        except ValueError as error:
            if "Could not determine subsampling" in str(error):
                raise _OddSampling from error
            raise

    def _orientation(self) -> int:
        try:
            orientation = self._image.getexif().get(_ORIENTATION, 1)
        except _DECODING_ERRORS:
            return 1  # Metadata beyond reading says nothing; the pixels are sound.
        return orientation if isinstance(orientation, int) else 1


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Returns the pixels as they are to be seen, given their EXIF orientation, 2 to 8.

    Source: EXIF 2.32, tag 0x0112.
    """
    transpose, upside_down, left_right = _TURNS[orientation]
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    if upside_down:
        pixels = pixels[::-1]
    if left_right:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def resize(pixels: Pixels, spec: ImageSpec) -> Pixels:
    """Returns the pixels at the size that `spec` asks for; never enlarged."""
    height, width = pixels.shape[:2]
    target = target_size(height, width, spec)
    if target == (height, width):
        return pixels
    resized: Any = cv2.resize(pixels, target[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def target_size(height: int, width: int, spec: ImageSpec) -> tuple[int, int]:
    """Returns (height, width) in pixels of an image once resized.

    `shorter_side` brings the shorter side to `spec.size` and rounds the longer one to
    the nearest pixel, halves up; a smaller image stays as it is, as all do for `none`.
    """
    shorter = min(height, width)
    if spec.resize == "none" or shorter <= spec.size:
        return height, width
    scaled = (
        (side * spec.size * 2 + shorter) // (2 * shorter) for side in (height, width)
    )
    return next(scaled), next(scaled)


def to_rgb(image: Image.Image) -> Pixels:
    """Returns uint8[height, width, 3] of a decoded image of any mode.

    16-bit grey keeps its upper byte; what is transparent is laid over white; CMYK goes
    by its profile, if it has one.
    """
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        grey = (deep >> 8).astype(np.uint8)
        grey[deep == image.info.get("transparency", -1)] = 255
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if image.mode in ("I", "F"):
        raise BadInput("unsupported_image", f"pixels of mode {image.mode}")
    if image.mode == "CMYK":
        image = cmyk_to_srgb(image, image.info.get("icc_profile")) or image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))
