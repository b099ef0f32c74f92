"""Images: bytes of a file to checked, upright, resized and encoded bytes.

Pure functions; what cannot be used raises `BadInput`. The codecs release the GIL, so
threads run in parallel.
"""

import hashlib
import io
import re
import warnings
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from beam_jobs.colour import changes_colours, pixels_to_srgb
from beam_jobs.completeness import check_complete
from beam_jobs.elements import BadInput
from beam_jobs.formats import (
    DECODING_ERRORS,
    check_pixels,
    described,
    format_of,
    is_unsupported,
    open_image,
)
from beam_jobs.jpeg import MAX_SIDE, Jpeg, parse_jpeg
from beam_jobs.pixels import (
    TURNS,
    Pixels,
    check_mode,
    has_colours_done,
    to_rgb,
    turn_upright,
)
from beam_jobs.resizing import plan_sizes, resize
from reader.contract.manifest import ImageSpec

_ORIENTATION = 0x0112

# What libraries say when there is no memory: no property of the bytes. (libtiff says so
# of sizes too large for its arithmetic.)
_NO_MEMORY = re.compile("out of memory|insufficient memory|memory allocation", re.I)

# Metadata beyond reading is no news to a person who builds a dataset.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class EncodedImage(NamedTuple):
    """An image as it is stored, and what it was before.

    Attributes:
        data: The encoded bytes.
        height, width: As stored, in pixels.
        source_format: `jpeg`, `png`, …: by content, not by name.
        source_height, source_width: As encoded in the file, before being turned.
        sha256: Hex digest of the source's bytes.
        actions: What was done to it, in order: `converted`, `oriented`, `resized`,
            `to_srgb`, `encoded`. None at all: coded data was kept as it is.
        format: What `data` is: `jpeg`, `png` or `raw`.
    """

    data: bytes
    height: int
    width: int
    source_format: str
    source_height: int
    source_width: int
    sha256: str
    actions: tuple[str, ...]
    format: str


class _OddSampling(Exception):
    """A JPEG with chroma sampling that TurboJPEG has no name for; Pillow reads it."""


class SourceImage:
    """An image file whose header was read, and whose pixels were not yet decoded."""

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        """Reads the header.

        Raises:
            BadInput: It is no image, of no format we read, or larger than allowed.
        """
        self._data = data
        self._max_pixels = max_pixels
        self.format = format_of(data)
        self._jpeg = (
            parse_jpeg(data, max_pixels=max_pixels) if self.format == "jpeg" else None
        )
        self._image = self._open()
        # Pillow turns a TIFF while it decodes, and tells its size turned.
        self._turn = self._orientation() if self.format == "tiff" else 1
        width, height = self._image.size
        self.width, self.height = (
            (height, width) if self._turn >= 5 else (width, height)
        )

    def _open(self) -> Image.Image:
        limit = self._max_pixels
        if self._jpeg is None:
            return open_image(self._data, self.format, max_pixels=limit)
        try:
            return open_image(self._jpeg.described, "jpeg", max_pixels=limit)
        except BadInput as error:
            if error.reason != "damaged_image":
                raise
            # Metadata beyond reading says nothing; the pixels may be sound.
            return open_image(self._jpeg.plain, "jpeg", max_pixels=limit)

    @property
    def decoded_bytes(self) -> int:
        """About how much memory decoding takes; Pillow makes copies on the way."""
        if self._jpeg is None or self._image.mode == "CMYK":
            per_pixel = 20
        else:  # Progressive ones are decoded by way of all their coefficients.
            per_pixel = 6 if self._jpeg.is_sequential else 12
        return self.width * self.height * per_pixel

    def check_filters(
        self, *, min_image_size: int, max_aspect_ratio: float | None
    ) -> None:
        """Checks the size that the header tells; turning does not change the answer.

        Args:
            min_image_size: Least length of the shorter side, in pixels.
            max_aspect_ratio: Of the longer to the shorter side; as its decimals say.

        Raises:
            BadInput: It is too small, or too long.
        """
        shorter, longer = sorted((self.height, self.width))
        size = f"{self.width} × {self.height}"
        if shorter < min_image_size:
            raise BadInput(
                "image_too_small", f"{size}: a side shorter than {min_image_size}"
            )
        if (
            max_aspect_ratio is not None
            and longer > Fraction(str(max_aspect_ratio)) * shorter
        ):
            raise BadInput(
                "aspect_ratio_too_large",
                f"{size}: one side more than {max_aspect_ratio} times the other",
            )

    def encode(self, spec: ImageSpec) -> EncodedImage:
        """Returns the image decoded, upright, resized and encoded again.

        A JPEG that needs none of that keeps its coded data, once it was decoded to see
        whether it is sound.

        Raises:
            BadInput: The data is damaged or cut short.
        """
        self._check_stored_size(spec)
        if self._jpeg is not None and self._can_be_kept(self._jpeg, spec):
            self._decode()
            return self._encoded(
                self._jpeg.plain, (self.height, self.width), "jpeg", []
            )
        pixels, actions = self._upright_pixels()
        resized = resize(pixels, spec)
        if resized is not pixels:
            actions.append("resized")
        # After resizing: there are fewer pixels to convert.
        if has_colours_done(self._image):
            in_srgb = None
        else:
            in_srgb = pixels_to_srgb(resized, self._profile, self._image.mode)
        if in_srgb is not None:
            actions.append("to_srgb")
            resized = in_srgb
        data = encode_pixels(resized, spec)
        return self._encoded(
            data, resized.shape[:2], spec.format, [*actions, "encoded"]
        )

    def _encoded(
        self, data: bytes, size: tuple[int, ...], format: str, actions: list[str]
    ) -> EncodedImage:
        return EncodedImage(
            data=data,
            height=size[0],
            width=size[1],
            source_format=self.format,
            source_height=self.height,
            source_width=self.width,
            sha256=hashlib.sha256(self._data).hexdigest(),
            actions=tuple(actions),
            format=format,
        )

    def _check_stored_size(self, spec: ImageSpec) -> None:
        """Checks what is to be made; no mode cares how the image is turned."""
        for height, width in plan_sizes(self.height, self.width, spec):
            check_pixels(
                width, height, max_pixels=self._max_pixels, what=" once resized"
            )
            if spec.format == "jpeg" and max(height, width) > MAX_SIDE:
                raise BadInput(
                    "unsupported_image",
                    f"{self.width} × {self.height}: a side longer than the "
                    f"{MAX_SIDE} pixels of JPEG",
                )

    def _can_be_kept(self, jpeg: Jpeg, spec: ImageSpec) -> bool:
        size = (self.height, self.width)
        return (
            spec.format == "jpeg"
            and jpeg.can_be_kept
            and plan_sizes(*size, spec) == (size, size)
            and self._orientation() not in TURNS
            and not changes_colours(self._profile, self._image.mode)
        )

    def _upright_pixels(self) -> tuple[Pixels, list[str]]:
        pixels = self._decode()
        actions = [] if self._is_plain_jpeg else ["converted"]
        # Of PNG, what lies behind the pixels is known only now.
        orientation = self._turn if self.format == "tiff" else self._orientation()
        if orientation in TURNS:
            actions.append("oriented")
            if self.format != "tiff":
                pixels = turn_upright(pixels, orientation)
        if has_colours_done(self._image) and self._changes_own_colours():
            actions.append("to_srgb")
        return pixels, actions

    def _changes_own_colours(self) -> bool:
        return changes_colours(self._profile, self._image.mode)

    @property
    def _profile(self) -> bytes | None:
        profile = self._image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) else None

    @property
    def _is_plain_jpeg(self) -> bool:
        return self._jpeg is not None and len(self._jpeg.frame.components) != 4

    def _decode(self) -> Pixels:
        """Returns uint8[height, width, 3] as the file has it."""
        check_mode(self._image.mode)
        check_complete(self._data, self.format)
        try:
            if self._jpeg is not None:
                return self._decode_jpeg(self._jpeg)
            self._image.load()
            return to_rgb(self._image)
        except DECODING_ERRORS as error:
            detail = described(error)
            if self.format != "tiff" and _NO_MEMORY.search(detail):
                raise MemoryError(detail) from error
            if is_unsupported(error):
                raise BadInput("unsupported_image", detail) from error
            raise BadInput("damaged_image", detail) from error

    def _decode_jpeg(self, jpeg: Jpeg) -> Pixels:
        """Decodes strictly; what it then still takes Pillow for, Pillow decodes."""
        try:
            pixels = _decode_strictly(
                jpeg.plain, "RGB" if self._is_plain_jpeg else "CMYK"
            )
            if self._is_plain_jpeg:
                return pixels
        except _OddSampling:
            pass
        self._image.load()
        return to_rgb(self._image)

    def _orientation(self) -> int:
        try:
            orientation = self._image.getexif().get(_ORIENTATION, 1)
        except DECODING_ERRORS:
            return 1  # Metadata beyond reading says nothing; the pixels are sound.
        return orientation if isinstance(orientation, int) else 1


def _decode_strictly(data: bytes, colorspace: str) -> Pixels:
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace, strict=True)
        return np.asarray(pixels, np.uint8)
    except ValueError as error:
        if "Could not determine subsampling" in str(error):
            raise _OddSampling from error
        raise


def encode_pixels(pixels: Pixels, spec: ImageSpec) -> bytes:
    """Returns uint8[height, width, 3] as JPEG, PNG or its own bytes."""
    if spec.format == "raw":
        return pixels.tobytes()
    if spec.format == "png":
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
        return file.getvalue()
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=spec.quality,
        colorspace="RGB",
        colorsubsampling=spec.subsampling,
    )
    return data
