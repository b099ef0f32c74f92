"""START HERE for pixels: encoded images → cropped, resized, cast rows of a batch."""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reader.config.image_config import ImageConfig
from reader.contract.schema import needs_size
from reader.pixels.casts import Cast, caster, row_dtype, row_shape
from reader.pixels.codecs import decoder, undecodable
from reader.pixels.errors import PixelsError
from reader.pixels.jpeg import Region, check_size, decode_region, size_of
from reader.pixels.regions import Float64s, Int32s, regions_of
from reader.pixels.resample import resample, resample_part
from reader.pixels.scratch import scratch

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PixelEngine:
    """Decodes, crops, resamples, flips and casts images. Needs no TensorFlow.

    Engines are picklable, and threads may share one.

    Attributes:
        images: Image configuration, with crop, flip, target size, dtype and format.
        image_format: Stored format, one of `reader.contract.schema.STORED_FORMATS`;
            None if the format varies by image.
    """

    images: ImageConfig
    image_format: str | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the settings, without functions made of them."""
        return PixelEngine, (self.images, self.image_format)

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """Shape of one image in a batch."""
        return row_shape(self.images)

    @property
    def dtype(self) -> str:
        """NumPy type of one value of a batch; `uint16` holds the bits of bfloat16."""
        return row_dtype(self.images)

    @functools.cached_property
    def _cast(self) -> Cast | None:
        """Casts an image into its row; None if a row is an image as it is made."""
        if self.dtype == "uint8" and self.images.data_format == "channels_last":
            return None
        return caster(self.images)

    def make(
        self,
        encoded: Iterable[Pixels],
        sizes: Int32s | None,
        draws: Float64s,
        out: NDArray[Any],
    ) -> None:
        """Makes the images of a batch, or of a part of one.

        Args:
            encoded: n encoded images, uint8 each, which are only read. Each is taken
                when it is needed.
            sizes: int32[n, 2], stored height and width of each image in pixels. None to
                read the sizes from the images.
            draws: float64[n, k], random numbers in [0, 1): of the crop, then of the
                flip, as counted by `ImageConfig.num_draws`.
            out: Rows of the batch, `[n, *row_shape]` of type `dtype`; written to.

        Raises:
            PixelsError: An image is damaged, or has another size than stated.
        """
        num_crop = self.images.num_draws["crop"]
        crops, flips = draws[:, :num_crop], np.zeros(len(out), bool)
        if self.images.flip:
            flips = draws[:, num_crop] < 0.5
        known: list[tuple[Any, Any]] = []
        if sizes is not None:
            regions = regions_of(sizes, crops, self.images)
            known = [*zip(map(tuple, sizes.tolist()), regions.tolist(), strict=True)]
        with _using_ipp(False):
            for n, (data, flip) in enumerate(zip(encoded, flips.tolist(), strict=True)):
                try:
                    if known:
                        pixels, region = self._decode(data, *known[n])
                    else:
                        pixels, region = self._decode_any(data, crops[n : n + 1])
                except ValueError as error:
                    raise PixelsError(n, undecodable(error)) from error
                self._finish(pixels, region, flip, out[n])

    def make_one(
        self, encoded: bytes, size: tuple[int, int] | None, draws: Float64s
    ) -> NDArray[Any]:
        """Returns one image, of `row_shape` and `dtype`.

        Args:
            encoded: Encoded image.
            size: Stored height and width in pixels; None to read them from the image.
            draws: float64[1, k], as in `make`.

        Raises:
            PixelsError: The image is damaged, or has another size than stated.
        """
        data = np.frombuffer(encoded, np.uint8)
        rows = np.empty((1, *self.row_shape), self.dtype)
        sizes = None if size is None else np.array([size], np.int32)
        self.make([data], sizes, draws, rows)
        image: NDArray[Any] = rows[0]
        return image

    def _decode(
        self, data: Pixels, size: tuple[int, int], region: Region
    ) -> tuple[Pixels, Region]:
        if self.image_format == "jpeg":
            return decode_region(data, size, region, self.images.target)
        if needs_size(self.image_format):
            if data.size != 3 * size[0] * size[1]:
                raise ValueError(
                    f"it has {data.size} bytes, not {size[0]} × {size[1]} × 3"
                )
            return data.reshape(*size, 3), region
        pixels = decoder(self.image_format)(data.tobytes(), *size)
        check_size(pixels.shape, size)
        return pixels, region

    def _decode_any(self, data: Pixels, crop: Float64s) -> tuple[Pixels, Region]:
        """Decodes an image whose format and size its record does not state."""
        size, pixels = size_of(data), None
        if size is None:
            pixels = decoder(None)(data.tobytes(), 0, 0)
            size = pixels.shape[0], pixels.shape[1]
        (region,) = regions_of(np.array([size], np.int32), crop, self.images).tolist()
        if pixels is not None:
            return pixels, region
        with contextlib.suppress(ValueError):
            return decode_region(data, size, region, self.images.target)
        # Pillow skips stray bytes that simplejpeg rejects. Both reject truncation.
        pixels = decoder(None)(data.tobytes(), 0, 0)
        check_size(pixels.shape, size)
        return pixels, region

    def _finish(
        self, pixels: Pixels, region: Region, flip: bool, row: NDArray[Any]
    ) -> None:
        """Resamples a region into a row of the batch, flips and casts it."""
        cast = self._cast
        image = row if cast is None else scratch("image", (*self.images.target, 3))
        top, left, height, width = region
        if isinstance(top, int):
            resample(pixels[top : top + height, left : left + width], image)
        else:
            resample_part(pixels, (top, left), (height, width), image)
        if flip:
            with _using_ipp(True):  # It rounds nothing here, and is ten times as fast.
                cv2.flip(image, 1, dst=image)
        if cast is not None:
            cast(image, row)


@contextlib.contextmanager
def _using_ipp(use: bool) -> Iterator[None]:
    """Turns IPP on or off, which only some machines have and which rounds otherwise.

    OpenCV keeps this setting per thread, so other threads of the user are unaffected.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(use)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
