"""Reads the header of an image file and decodes its pixels.

Unusable data raises `BadInput`. The codecs release the GIL, so threads decode in
parallel.
"""

import functools
import re

import numpy as np
import simplejpeg
from PIL import Image

from beam_jobs.elements import BadInput
from beam_jobs.encoding.color.statements import exif_profile, stated_profile
from beam_jobs.encoding.file_structure import check_complete
from beam_jobs.encoding.formats import (
    DECODING_ERRORS,
    described,
    finish_image,
    first_frame,
    format_of,
    is_tiff_of_webp,
    is_unsupported,
    mode_of,
    open_image,
)
from beam_jobs.encoding.jpeg import Jpeg, parse_jpeg
from beam_jobs.encoding.jpeg_metadata import (
    ORIENTATION,
    exif_of,
    orientation_of,
    profile_of,
)
from beam_jobs.encoding.pixels import (
    Pixels,
    changes_colors,
    check_mode,
    has_colors_done,
    swaps_sides,
    to_rgb,
)

# Error messages of libraries that run out of memory. The image may be valid, so it is
# not rejected. TIFF is an exception: libtiff reports "out of memory" for sizes that
# overflow its arithmetic. So is a size beyond a limit of libheif.
_NO_MEMORY = re.compile(
    "out of memory|insufficient memory|memory allocation(?!.*security limit)", re.I
)


class _UnsupportedSampling(Exception):
    """TurboJPEG does not support the chroma subsampling of a JPEG; Pillow does."""


class ImageFile:
    """An image file with its header read and its pixels not decoded yet.

    Attributes:
        data: Bytes of the file.
        format: Image format (`jpeg`, `png`, …), detected from the content.
        jpeg: Parsed JPEG, or None for other formats.
        height, width: Size as encoded, in pixels, before the orientation is applied.
        is_turned: Whether decoding applies the EXIF orientation (TIFF only).
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        """Reads the header.

        Args:
            data: Bytes of the file.
            max_pixels: Maximum number of pixels of the image.

        Raises:
            BadInput: The data is not an image, its format is not supported, its header
                is damaged, or the image has more than `max_pixels` pixels.
        """
        self.data = data
        self._max_pixels = max_pixels
        self.format = format_of(data)
        self.jpeg = (
            parse_jpeg(data, max_pixels=max_pixels) if self.format == "jpeg" else None
        )
        # Pillow applies the orientation of a TIFF while decoding, and removes the tag.
        self.is_turned = self.format == "tiff"
        self._turn = self._read_orientation() if self.is_turned else None
        self.width, self.height = self._size()

    def _size(self) -> tuple[int, int]:
        """Returns (width, height) as encoded."""
        if self.jpeg is not None:
            return self.jpeg.frame.width, self.jpeg.frame.height
        width, height = self._image.size  # Upright, if Pillow turns the image.
        swapped = self._turn is not None and swaps_sides(self._turn)
        return (height, width) if swapped else (width, height)

    @functools.cached_property
    def _image(self) -> Image.Image:
        """The file as opened by Pillow, on first use; most JPEGs never need Pillow."""
        limit = self._max_pixels
        if self.jpeg is None:
            return open_image(self.data, self.format, max_pixels=limit)
        try:
            return open_image(self.jpeg.described, "jpeg", max_pixels=limit)
        except BadInput as error:
            if error.reason != "damaged_image":
                raise
            # The metadata may be unreadable while the pixels are intact.
            return open_image(self.jpeg.plain, "jpeg", max_pixels=limit)

    def decoded_bytes(self, shrunk: int) -> int:
        """Estimates the memory that decoding takes, in bytes.

        Args:
            shrunk: Factor by which decoding shrinks each side.
        """
        jpeg = self._for_turbojpeg
        if jpeg is None:
            per_pixel = 20.0  # Pillow makes copies.
        else:
            per_pixel = 6 / shrunk**2
            # Decoding a progressive JPEG keeps all coefficients in memory.
            per_pixel += 0 if jpeg.is_sequential else 6
        return round(self.width * self.height * per_pixel)

    def shrink(self, ratio: int) -> int:
        """Returns the factor by which decoding can shrink each side, up to `ratio`."""
        jpeg = self._for_turbojpeg
        return 1 if jpeg is None else max(1, ratio // jpeg.chroma_shrink)

    @property
    def _for_turbojpeg(self) -> Jpeg | None:
        """The JPEG, if TurboJPEG can decode it; None if Pillow decodes the file."""
        jpeg = self.jpeg
        if jpeg is None or not self.is_plain_jpeg or not jpeg.has_named_sampling:
            return None
        return jpeg

    @property
    def is_plain_jpeg(self) -> bool:
        """Whether the file is a JPEG that decodes to RGB."""
        return self.jpeg is not None and self.jpeg.mode != "CMYK"

    @functools.cached_property
    def profile(self) -> bytes | None:
        """ICC profile of the colors that the file states, or None.

        Raises:
            BadInput: The colors are of a kind that is not converted, such as HDR.
        """
        if self.jpeg is None:
            return stated_profile(self.data, self.format, self._image, self.mode)
        metadata, mode = self.jpeg.metadata, self.mode
        profile = profile_of(metadata)
        if profile is None and mode != "CMYK":
            profile = exif_profile(exif_of(metadata), gray=mode == "L")
        return profile

    @property
    def mode(self) -> str:
        """Pixel mode of the file, as named by Pillow."""
        if self.jpeg is not None:
            return self.jpeg.mode
        return mode_of(self._image, self.data, self.format)

    @property
    def changes_colors(self) -> bool:
        """Whether converting to sRGB changes colors."""
        return changes_colors(self.profile, self.mode)

    @property
    def has_colors_done(self) -> bool:
        """Whether decoding converts the colors to sRGB."""
        return not self.is_plain_jpeg and has_colors_done(self._image)

    @property
    def orientation(self) -> int:
        """EXIF orientation of the decoded file.

        A PNG may store its EXIF data after the pixels, so decode the file first.
        """
        return self._read_orientation() if self._turn is None else self._turn

    def _read_orientation(self) -> int:
        if self.jpeg is not None:
            return orientation_of(self.jpeg.metadata)
        try:
            orientation = self._image.getexif().get(ORIENTATION, 1)
        except DECODING_ERRORS:
            return 1  # The metadata is unreadable; the pixels may be intact.
        return orientation if isinstance(orientation, int) else 1

    def decode(self, shrunk: int) -> Pixels:
        """Decodes to uint8[height, width, 3], at full size or smaller.

        The pixels are not turned upright, except those of a TIFF.

        Args:
            shrunk: Factor by which decoding shrinks each side, as returned by `shrink`.

        Raises:
            BadInput: The file is damaged, truncated or of an unsupported kind.
            MemoryError: There is not enough memory.
        """
        if self.jpeg is None:
            check_mode(self._image.mode)
            check_complete(self.data, self.format)
        try:
            if self.jpeg is not None:
                return self._decode_jpeg(self.jpeg, shrunk)
            return self._decode_by_pillow()
        except DECODING_ERRORS as error:
            detail = described(error)
            if self.format != "tiff" and _NO_MEMORY.search(detail):
                raise MemoryError(detail) from error
            if is_unsupported(error):
                raise BadInput("unsupported_image", detail) from error
            if self.format == "tiff" and is_tiff_of_webp(self.data):
                raise BadInput(
                    "unsupported_image", f"TIFF of WebP: {detail}"
                ) from error
            raise BadInput("damaged_image", detail) from error

    def _decode_by_pillow(self) -> Pixels:
        size, profile = self._image.size, self.profile
        self._image.load()
        if self._image.size != size:  # HEIF states its size twice.
            raise BadInput("damaged_image", f"decoded to another size than {size}")
        self._image.info["icc_profile"] = profile  # What `to_rgb` applies.
        pixels = to_rgb(finish_image(self._image, self.data, self.format))
        frame = first_frame(self.data, self.format)
        if frame is None or frame[2:] == self._image.size:
            return pixels
        # Around a first frame that is smaller than the canvas, animations are clear.
        left, top, width, height = frame
        place = slice(top, top + height), slice(left, left + width)
        whole = np.full_like(pixels, 255)
        whole[place] = pixels[place]
        return whole

    def _decode_jpeg(self, jpeg: Jpeg, shrunk: int) -> Pixels:
        """Decodes in strict mode, so that warnings of libjpeg raise.

        Pillow converts CMYK after the strict decoding succeeds. It also decodes the
        chroma subsampling that TurboJPEG does not support, without this check.
        """
        try:
            if self.is_plain_jpeg:
                return _decode_strictly(jpeg, "RGB", shrunk)
            _decode_strictly(jpeg, "CMYK", 1)
        except _UnsupportedSampling:
            pass
        self._image.load()
        return to_rgb(self._image)


def _decode_strictly(jpeg: Jpeg, colorspace: str, shrunk: int) -> Pixels:
    try:
        pixels = simplejpeg.decode_jpeg(
            jpeg.plain,
            colorspace,
            # Minimum sides. libjpeg rounds up.
            min_height=-(-jpeg.frame.height // shrunk),
            min_width=-(-jpeg.frame.width // shrunk),
            strict=True,
        )
        return np.asarray(pixels, np.uint8)
    except ValueError as error:
        if "Could not determine subsampling" in str(error):
            raise _UnsupportedSampling from error
        raise
