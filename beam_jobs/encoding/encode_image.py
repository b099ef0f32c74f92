"""Checks an image file, turns it upright, resizes it and encodes it.

Nothing here reads or writes files. Unusable data raises `BadInput`. The codecs release
the GIL, so threads run in parallel.
"""

import dataclasses
import hashlib
import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from beam_jobs.elements import BadInput, StoredImage
from beam_jobs.encoding.decode_image import ImageFile
from beam_jobs.encoding.formats import check_pixels
from beam_jobs.encoding.jpeg import MAX_SIDE, Jpeg
from beam_jobs.encoding.pixels import TURNS, Pixels, pixels_to_srgb
from beam_jobs.encoding.resize import plan_sizes, resize, shrink_ratio
from reader.contract import samples
from reader.contract.manifest import ImageSpec
from reader.contract.schema import needs_size


class EncodedImage(NamedTuple):
    """An image as stored, and the properties of its source file.

    Attributes:
        data: Encoded bytes.
        height, width: Size as stored, in pixels.
        source_format: Format of the source (`jpeg`, `png`, …), detected from its
            content.
        source_height, source_width: Size of the source as encoded, in pixels, before
            its orientation is applied.
        sha256: Hex SHA-256 digest of the source's bytes.
        actions: Processing steps in order: `converted`, `oriented`, `resized`,
            `to_srgb`, `encoded`. Empty if the coded data of the source is kept.
        format: Format of `data`: `jpeg`, `png` or `raw`.
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

    @property
    def facts(self) -> dict[str, Any]:
        """Its columns of `samples/`."""
        return {
            samples.ORIGINAL_WIDTH: self.source_width,
            samples.ORIGINAL_HEIGHT: self.source_height,
            samples.ORIGINAL_FORMAT: self.source_format,
            samples.WIDTH: self.width,
            samples.HEIGHT: self.height,
            samples.ACTIONS: self.actions,
            samples.SHA256: self.sha256,
        }


class SourceImage:
    """A source image that is not decoded yet.

    Attributes:
        format: Format of the source (`jpeg`, `png`, …), detected from its content.
        height, width: Size as encoded, in pixels, before the orientation is applied.
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        """Reads the header.

        Args:
            data: Bytes of the file.
            max_pixels: Maximum number of pixels of the image, before and after
                resizing.

        Raises:
            BadInput: The data is not an image, its format is not supported, its header
                is damaged, or the image has more than `max_pixels` pixels.
        """
        self._file = ImageFile(data, max_pixels=max_pixels)
        self._max_pixels = max_pixels
        self.format = self._file.format
        self.height, self.width = self._file.height, self._file.width

    def decoded_bytes(self, spec: ImageSpec) -> int:
        """Estimates the memory that `encode` takes, in bytes."""
        return self._file.decoded_bytes(self._shrink(spec))

    def _shrink(self, spec: ImageSpec) -> int:
        """Returns the factor by which decoding shrinks each side."""
        return self._file.shrink(shrink_ratio(self.height, self.width, spec))

    def check_filters(
        self, *, min_image_size: int, max_aspect_ratio: float | None
    ) -> None:
        """Checks the size in the header. The orientation does not change the result.

        Args:
            min_image_size: Minimum length of the shorter side, in pixels.
            max_aspect_ratio: Maximum ratio of the longer to the shorter side, or None.
                Compared as an exact decimal fraction.

        Raises:
            BadInput: The image is too small, or its aspect ratio is too large.
        """
        _check_filters(
            self.height,
            self.width,
            min_image_size=min_image_size,
            max_aspect_ratio=max_aspect_ratio,
        )

    def encode(self, spec: ImageSpec) -> EncodedImage:
        """Decodes the image, turns it upright, resizes it and encodes it.

        A JPEG that needs no change keeps its coded data. It is still decoded, to detect
        damage.

        Raises:
            BadInput: The data is damaged or truncated, its kind is not supported, or
                the resized image is too large.
            MemoryError: There is not enough memory.
        """
        _check_stored_size(self.height, self.width, spec, self._max_pixels)
        jpeg = self._file.jpeg
        if jpeg is not None and self._can_be_kept(jpeg, spec):
            # Decoding reads all coded data at any scale; one eighth is the fastest.
            self._file.decode(shrunk=8)
            return self._encoded(jpeg.plain, (self.height, self.width), "jpeg", [])
        pixels, actions = self.process(spec)
        data = encode_pixels(pixels, spec)
        return self._encoded(data, pixels.shape[:2], spec.format, [*actions, "encoded"])

    def process(self, spec: ImageSpec) -> tuple[Pixels, list[str]]:
        """Returns the pixels to encode, and the actions that produced them.

        Raises:
            BadInput: The data is damaged or truncated, or its kind is not supported.
            MemoryError: There is not enough memory.
        """
        file, whole = self._file, (self.height, self.width)
        shrunk = self._shrink(spec)
        pixels = file.decode(shrunk)
        actions = [] if file.is_plain_jpeg else ["converted"]
        orientation = file.orientation
        if orientation in TURNS:
            actions.append("oriented")
        if file.is_turned:
            whole, orientation = (pixels.shape[0], pixels.shape[1]), 1
        if file.has_colors_done and file.changes_colors:
            actions.append("to_srgb")
        if pixels.shape[:2] == whole:
            shrunk = 1  # Pillow decoded the image, at full size.
        resized = resize(
            pixels, spec, whole=whole, shrunk=shrunk, orientation=orientation
        )
        if sorted(resized.shape[:2]) != sorted(whole):
            actions.append("resized")
        # Colors are converted after resizing, when there are fewer pixels.
        if file.changes_colors and not file.has_colors_done:
            actions.append("to_srgb")
            resized = pixels_to_srgb(resized, file.profile, file.mode)
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
            sha256=hashlib.sha256(self._file.data).hexdigest(),
            actions=tuple(actions),
            format=format,
        )

    def _can_be_kept(self, jpeg: Jpeg, spec: ImageSpec) -> bool:
        size = (self.height, self.width)
        return (
            spec.format == "jpeg"
            and jpeg.can_be_kept
            and plan_sizes(*size, spec) == (size, size)
            and self._file.orientation not in TURNS
            and not self._file.changes_colors
        )


def _check_filters(
    height: int, width: int, *, min_image_size: int, max_aspect_ratio: float | None
) -> None:
    shorter, longer = sorted((height, width))
    size = f"{width} × {height}"
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


def _check_stored_size(
    height: int, width: int, spec: ImageSpec, max_pixels: int
) -> None:
    """Checks the resized size. The orientation does not change the result."""
    for tall, wide in plan_sizes(height, width, spec):
        check_pixels(wide, tall, max_pixels=max_pixels, what=" once resized")
        if spec.format == "jpeg" and max(tall, wide) > MAX_SIDE:
            raise BadInput(
                "unsupported_image",
                f"{width} × {height}: a side longer than the {MAX_SIDE} pixels of JPEG",
            )


class DatasetImage:
    """An image of a dataset, which is encoded again only if settings ask for it.

    It is upright and in sRGB, and its colors are not converted again.

    Attributes:
        kept: The image as it is stored, with empty `data`; None if it changes.
    """

    def __init__(
        self, stored: StoredImage, spec: ImageSpec, *, max_pixels: int
    ) -> None:
        """Decides what changes, which needs no bytes of the image.

        Args:
            stored: What the dataset states of the image.
            spec: Format and size to store.
            max_pixels: Maximum number of pixels, also of the original.

        Raises:
            BadInput: The original or the resized image has more than `max_pixels`.
        """
        check_pixels(stored.source_width, stored.source_height, max_pixels=max_pixels)
        self._stored, self._max_pixels = stored, max_pixels
        # Settings of the size that are those of the dataset are met already.
        self._spec = spec if stored.resize else dataclasses.replace(spec, resize="none")
        size = stored.height, stored.width
        self._resized = plan_sizes(*size, self._spec) != (size, size)
        changed = self._resized or stored.encode or stored.format != spec.format
        self.kept = None if changed else self._made(b"", size, stored.actions)

    def check_filters(
        self, *, min_image_size: int, max_aspect_ratio: float | None
    ) -> None:
        """Checks the size of the original: see `SourceImage.check_filters`."""
        _check_filters(
            self._stored.source_height,
            self._stored.source_width,
            min_image_size=min_image_size,
            max_aspect_ratio=max_aspect_ratio,
        )

    def decoded_bytes(self) -> int:
        """Estimates the memory that `encode` takes, in bytes."""
        return 6 * self._stored.height * self._stored.width

    def encode(self, data: bytes) -> EncodedImage:
        """Decodes the stored bytes, resizes them if asked to, and encodes them.

        Raises:
            BadInput: The data is damaged, or the resized image is too large.
            MemoryError: There is not enough memory.
        """
        stored, spec = self._stored, self._spec
        _check_stored_size(stored.height, stored.width, spec, self._max_pixels)
        if needs_size(stored.format):
            pixels = resize(self._raw_pixels(data), spec)
        else:
            pixels, _ = SourceImage(data, max_pixels=self._max_pixels).process(spec)
        done = [action for action in stored.actions if action != "encoded"]
        if self._resized and "resized" not in done:
            done.append("resized")
        encoded = encode_pixels(pixels, spec)
        return self._made(encoded, pixels.shape[:2], (*done, "encoded"))

    def _raw_pixels(self, data: bytes) -> Pixels:
        height, width = self._stored.height, self._stored.width
        if len(data) != height * width * 3:
            raise BadInput(
                "damaged_record", f"{len(data)} bytes of {width} × {height} pixels"
            )
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _made(
        self, data: bytes, size: tuple[int, ...], actions: tuple[str, ...]
    ) -> EncodedImage:
        stored = self._stored
        return EncodedImage(
            data=data,
            height=size[0],
            width=size[1],
            source_format=stored.source_format,
            source_height=stored.source_height,
            source_width=stored.source_width,
            sha256=stored.sha256,
            actions=actions,
            format=self._spec.format,
        )


def encode_pixels(pixels: Pixels, spec: ImageSpec) -> bytes:
    """Encodes uint8[height, width, 3] in the stored format of `spec`."""
    return _ENCODERS[spec.format](np.ascontiguousarray(pixels), spec)


def _encode_jpeg(pixels: Pixels, spec: ImageSpec) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(
        pixels,
        quality=spec.quality,
        colorspace="RGB",
        colorsubsampling=spec.subsampling,
    )
    return data


def _encode_png(pixels: Pixels, spec: ImageSpec) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _encode_raw(pixels: Pixels, spec: ImageSpec) -> bytes:
    return pixels.tobytes()


# Encoder of each format in `reader.contract.schema.STORED_FORMATS`.
_ENCODERS: dict[str, Callable[[Pixels, ImageSpec], bytes]] = {
    "jpeg": _encode_jpeg,
    "png": _encode_png,
    "raw": _encode_raw,
}
