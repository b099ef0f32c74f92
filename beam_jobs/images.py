"""Images: bytes of a file to checked, upright, resized and encoded bytes.

Pure functions; what cannot be used raises `BadInput`. The codecs release the GIL, so
threads run in parallel.
"""

import functools
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
from beam_jobs.jpeg_metadata import ORIENTATION, orientation_of, profile_of
from beam_jobs.pixels import (
    TURNS,
    Pixels,
    check_mode,
    has_colours_done,
    swaps_sides,
    to_rgb,
)
from beam_jobs.resizing import plan_sizes, resize, shrink_ratio
from reader.contract.manifest import ImageSpec

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
        self.width, self.height = self._size()

    def _size(self) -> tuple[int, int]:
        """Returns (width, height) as encoded."""
        if self._jpeg is not None:
            return self._jpeg.frame.width, self._jpeg.frame.height
        width, height = self._image.size
        # Pillow turns a TIFF while it decodes, and tells its size turned.
        self._turn = self._orientation if self.format == "tiff" else 1
        return (height, width) if swaps_sides(self._turn) else (width, height)

    @functools.cached_property
    def _image(self) -> Image.Image:
        """As Pillow sees it; of most JPEGs nobody asks."""
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

    def decoded_bytes(self, spec: ImageSpec) -> int:
        """About how much memory decoding takes; Pillow makes copies on the way."""
        jpeg = self._for_turbojpeg
        if jpeg is None:
            per_pixel = 20.0
        else:
            per_pixel = 6 / self._shrink(spec) ** 2
            # Progressive ones are decoded by way of all their coefficients.
            per_pixel += 0 if jpeg.is_sequential else 6
        return round(self.width * self.height * per_pixel)

    def _shrink(self, spec: ImageSpec) -> int:
        """Returns by how much it is to be shrunk while it is decoded."""
        jpeg = self._for_turbojpeg
        if jpeg is None:
            return 1
        ratio = shrink_ratio(self.height, self.width, spec)
        return max(1, ratio // jpeg.chroma_shrink)

    @property
    def _for_turbojpeg(self) -> Jpeg | None:
        """A JPEG that Pillow need not decode; None if it is another one, or none."""
        jpeg = self._jpeg
        if jpeg is None or not self._is_plain_jpeg or not jpeg.has_named_sampling:
            return None
        return jpeg

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
            # Any size asks for all of the coded data; an eighth takes the least time.
            self._decode(shrink=8)
            return self._encoded(
                self._jpeg.plain, (self.height, self.width), "jpeg", []
            )
        pixels, actions = self._finished(spec)
        data = encode_pixels(pixels, spec)
        return self._encoded(data, pixels.shape[:2], spec.format, [*actions, "encoded"])

    def _finished(self, spec: ImageSpec) -> tuple[Pixels, list[str]]:
        """Returns pixels as they are to be encoded, and what was done to them."""
        whole = self.height, self.width
        shrunk = self._shrink(spec)
        pixels = self._decode(shrunk)
        actions = [] if self._is_plain_jpeg else ["converted"]
        # Of PNG, what lies behind the pixels is known only now.
        orientation = self._turn if self.format == "tiff" else self._orientation
        if orientation in TURNS:
            actions.append("oriented")
        if self.format == "tiff":  # Pillow has turned it.
            whole, orientation = (pixels.shape[0], pixels.shape[1]), 1
        if self._has_colours_done and self._changes_colours:
            actions.append("to_srgb")
        if pixels.shape[:2] == whole:
            shrunk = 1  # By Pillow.
        resized = resize(
            pixels, spec, whole=whole, shrunk=shrunk, orientation=orientation
        )
        if sorted(resized.shape[:2]) != sorted(whole):
            actions.append("resized")
        # After resizing: there are fewer pixels to convert.
        if self._changes_colours and not self._has_colours_done:
            actions.append("to_srgb")
            resized = pixels_to_srgb(resized, self._profile, self._mode)
        return resized, actions

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
            and self._orientation not in TURNS
            and not self._changes_colours
        )

    @property
    def _profile(self) -> bytes | None:
        if self._jpeg is not None:
            return profile_of(self._jpeg.metadata)
        profile = self._image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) else None

    @property
    def _mode(self) -> str:
        return self._image.mode if self._jpeg is None else self._jpeg.mode

    @property
    def _changes_colours(self) -> bool:
        return changes_colours(self._profile, self._mode)

    @property
    def _has_colours_done(self) -> bool:
        return not self._is_plain_jpeg and has_colours_done(self._image)

    @property
    def _is_plain_jpeg(self) -> bool:
        return self._jpeg is not None and self._jpeg.mode != "CMYK"

    def _decode(self, shrink: int) -> Pixels:
        """Returns uint8[height, width, 3] as the file has it, or so much smaller.

        Only JPEG can be decoded smaller.
        """
        if self._jpeg is None:
            check_mode(self._image.mode)
            check_complete(self._data, self.format)
        try:
            if self._jpeg is not None:
                return self._decode_jpeg(self._jpeg, shrink)
            self._image.load()
            return to_rgb(self._image)
        except DECODING_ERRORS as error:
            detail = described(error)
            if self.format != "tiff" and _NO_MEMORY.search(detail):
                raise MemoryError(detail) from error
            if is_unsupported(error):
                raise BadInput("unsupported_image", detail) from error
            raise BadInput("damaged_image", detail) from error

    def _decode_jpeg(self, jpeg: Jpeg, shrink: int) -> Pixels:
        """Decodes strictly; what it then still takes Pillow for, Pillow decodes."""
        try:
            if self._is_plain_jpeg:
                return _decode_strictly(jpeg, "RGB", shrink)
            _decode_strictly(jpeg, "CMYK", shrink=1)
        except _OddSampling:
            pass
        self._image.load()
        return to_rgb(self._image)

    @property
    def _orientation(self) -> int:
        if self._jpeg is not None:
            return orientation_of(self._jpeg.metadata)
        try:
            orientation = self._image.getexif().get(ORIENTATION, 1)
        except DECODING_ERRORS:
            return 1  # Metadata beyond reading says nothing; the pixels are sound.
        return orientation if isinstance(orientation, int) else 1


def _decode_strictly(jpeg: Jpeg, colorspace: str, shrink: int) -> Pixels:
    try:
        pixels = simplejpeg.decode_jpeg(
            jpeg.plain,
            colorspace,
            # The least that each side may have: as libjpeg rounds, upwards.
            min_height=-(-jpeg.frame.height // shrink),
            min_width=-(-jpeg.frame.width // shrink),
            strict=True,
        )
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
