"""An image file: what its header says, and its pixels as they are.

What cannot be used raises `BadInput`. The codecs release the GIL, so threads run in
parallel.
"""

import functools
import re

import numpy as np
import simplejpeg
from PIL import Image

from beam_jobs.elements import BadInput
from beam_jobs.encoding.file_structure import check_complete
from beam_jobs.encoding.formats import (
    DECODING_ERRORS,
    described,
    format_of,
    is_unsupported,
    open_image,
)
from beam_jobs.encoding.jpeg import (
    ORIENTATION,
    Jpeg,
    orientation_of,
    parse_jpeg,
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

# What libraries say when there is no memory: no property of the bytes. (libtiff says so
# of sizes too large for its arithmetic.)
_NO_MEMORY = re.compile("out of memory|insufficient memory|memory allocation", re.I)


class _OddSampling(Exception):
    """A JPEG with chroma sampling that TurboJPEG has no name for; Pillow reads it."""


class ImageFile:
    """An image file whose header was read, and whose pixels were not yet decoded.

    Attributes:
        data: Its bytes.
        format: `jpeg`, `png`, …: by content, not by name.
        jpeg: Its parts; None if it is no JPEG.
        height, width: As encoded, in pixels.
        is_turned: Whether its pixels come upright.
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        """Reads the header.

        Raises:
            BadInput: It is no image, of no format we read, or larger than allowed.
        """
        self.data = data
        self._max_pixels = max_pixels
        self.format = format_of(data)
        self.jpeg = (
            parse_jpeg(data, max_pixels=max_pixels) if self.format == "jpeg" else None
        )
        # Pillow turns a TIFF while it decodes, and forgets by how much.
        self.is_turned = self.format == "tiff"
        self._turn = self._read_orientation() if self.is_turned else None
        self.width, self.height = self._size()

    def _size(self) -> tuple[int, int]:
        """Returns (width, height) as encoded."""
        if self.jpeg is not None:
            return self.jpeg.frame.width, self.jpeg.frame.height
        width, height = self._image.size  # Turned, if Pillow turns it.
        swapped = self._turn is not None and swaps_sides(self._turn)
        return (height, width) if swapped else (width, height)

    @functools.cached_property
    def _image(self) -> Image.Image:
        """As Pillow sees it; of most JPEGs nobody asks."""
        limit = self._max_pixels
        if self.jpeg is None:
            return open_image(self.data, self.format, max_pixels=limit)
        try:
            return open_image(self.jpeg.described, "jpeg", max_pixels=limit)
        except BadInput as error:
            if error.reason != "damaged_image":
                raise
            # Metadata beyond reading says nothing; the pixels may be sound.
            return open_image(self.jpeg.plain, "jpeg", max_pixels=limit)

    def decoded_bytes(self, shrunk: int) -> int:
        """About how much memory decoding takes; Pillow makes copies on the way."""
        jpeg = self._for_turbojpeg
        if jpeg is None:
            per_pixel = 20.0
        else:
            per_pixel = 6 / shrunk**2
            # Progressive ones are decoded by way of all their coefficients.
            per_pixel += 0 if jpeg.is_sequential else 6
        return round(self.width * self.height * per_pixel)

    def shrink(self, ratio: int) -> int:
        """Returns by how much it can be smaller when decoded: at most `ratio`."""
        jpeg = self._for_turbojpeg
        return 1 if jpeg is None else max(1, ratio // jpeg.chroma_shrink)

    @property
    def _for_turbojpeg(self) -> Jpeg | None:
        """A JPEG that Pillow need not decode; None if it is another one, or none."""
        jpeg = self.jpeg
        if jpeg is None or not self.is_plain_jpeg or not jpeg.has_named_sampling:
            return None
        return jpeg

    @property
    def is_plain_jpeg(self) -> bool:
        """Whether it is a JPEG that decodes to RGB."""
        return self.jpeg is not None and self.jpeg.mode != "CMYK"

    @property
    def profile(self) -> bytes | None:
        """Its ICC profile."""
        if self.jpeg is not None:
            return profile_of(self.jpeg.metadata)
        profile = self._image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) else None

    @property
    def mode(self) -> str:
        """Pillow's name for its kind of pixels."""
        return self._image.mode if self.jpeg is None else self.jpeg.mode

    @property
    def changes_colors(self) -> bool:
        """Whether its profile moves colours."""
        return changes_colors(self.profile, self.mode)

    @property
    def has_colors_done(self) -> bool:
        """Whether decoding applies its profile."""
        return not self.is_plain_jpeg and has_colors_done(self._image)

    @property
    def orientation(self) -> int:
        """EXIF's: of PNG, what lies behind the pixels is known once it is decoded."""
        return self._read_orientation() if self._turn is None else self._turn

    def _read_orientation(self) -> int:
        if self.jpeg is not None:
            return orientation_of(self.jpeg.metadata)
        try:
            orientation = self._image.getexif().get(ORIENTATION, 1)
        except DECODING_ERRORS:
            return 1  # Metadata beyond reading says nothing; the pixels are sound.
        return orientation if isinstance(orientation, int) else 1

    def decode(self, shrunk: int) -> Pixels:
        """Returns uint8[height, width, 3] as the file has it, or so much smaller.

        Args:
            shrunk: By how much, 1 but for what `shrink` says.

        Raises:
            BadInput: It is damaged, cut short or of a kind that is not read.
        """
        if self.jpeg is None:
            check_mode(self._image.mode)
            check_complete(self.data, self.format)
        try:
            if self.jpeg is not None:
                return self._decode_jpeg(self.jpeg, shrunk)
            self._image.load()
            return to_rgb(self._image)
        except DECODING_ERRORS as error:
            detail = described(error)
            if self.format != "tiff" and _NO_MEMORY.search(detail):
                raise MemoryError(detail) from error
            if is_unsupported(error):
                raise BadInput("unsupported_image", detail) from error
            raise BadInput("damaged_image", detail) from error

    def _decode_jpeg(self, jpeg: Jpeg, shrunk: int) -> Pixels:
        """Decodes strictly; what it then still takes Pillow for, Pillow decodes."""
        try:
            if self.is_plain_jpeg:
                return _decode_strictly(jpeg, "RGB", shrunk)
            _decode_strictly(jpeg, "CMYK", 1)
        except _OddSampling:
            pass
        self._image.load()
        return to_rgb(self._image)


def _decode_strictly(jpeg: Jpeg, colorspace: str, shrunk: int) -> Pixels:
    try:
        pixels = simplejpeg.decode_jpeg(
            jpeg.plain,
            colorspace,
            # The least that each side may have: as libjpeg rounds, upwards.
            min_height=-(-jpeg.frame.height // shrunk),
            min_width=-(-jpeg.frame.width // shrunk),
            strict=True,
        )
        return np.asarray(pixels, np.uint8)
    except ValueError as error:
        if "Could not determine subsampling" in str(error):
            raise _OddSampling from error
        raise
