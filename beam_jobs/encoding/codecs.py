"""Process-wide settings of Pillow and OpenCV, configured by each worker."""

import contextlib
import warnings
from collections.abc import Iterator

import cv2
from PIL import AvifImagePlugin, Image, PngImagePlugin

from beam_jobs.encoding.heif import heif_threads_restored, set_heif_threads
from beam_jobs.encoding.png import MAX_UNPACKED
from beam_jobs.encoding.tiff import has_sound_directories

# EXIF data up to the size of a JPEG segment is parsed as it is.
_MAX_UNCHECKED_EXIF = 1 << 16


class _BoundedExif(Image.Exif):
    """EXIF data that is empty if parsing it would take memory out of proportion.

    Pillow copies the values of every entry. One megabyte of entries that share a value
    becomes 65 gigabytes.
    """

    def load(self, data: bytes) -> None:
        """Parses EXIF data, with or without the header `Exif`."""
        if len(data) > _MAX_UNCHECKED_EXIF:
            tiff = data.removeprefix(b"Exif\0\0")
            data = data if has_sound_directories(tiff) else b""
        super().load(data)


def configure_codecs() -> None:
    """Configures the codecs. Each worker calls this before its first image.

    - Pillow's limit on image size is off. `max_pixels` is checked before decoding
      instead.
    - Each image uses one thread, because the job processes many images concurrently.
    - OpenCV's IPP is off in the calling thread, see `configure_thread`.
    - The compressed metadata of a PNG may be as large as the largest ICC profile that
      is applied. `plain_png` drops what is larger, before Pillow fails on it.
    - EXIF data takes memory in proportion to its length, in all formats.
    - Pillow's warnings about unreadable metadata are off. Only the pixels matter.
    """
    Image.MAX_IMAGE_PIXELS = None
    Image.Exif = _BoundedExif  # type: ignore[misc]
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_UNPACKED
    set_heif_threads(1)
    cv2.setNumThreads(1)
    configure_thread()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def configure_thread() -> None:
    """Turns OpenCV's IPP off, a setting that OpenCV keeps per thread.

    IPP rounds cubic interpolation differently, and only some machines have it. Each
    thread that encodes images calls this first.
    """
    cv2.ipp.setUseIPP(False)


@contextlib.contextmanager
def codecs_restored() -> Iterator[None]:
    """Restores the codec settings on exit.

    A caller that runs the job in its own process keeps its settings.
    """
    max_pixels, exif = Image.MAX_IMAGE_PIXELS, Image.Exif
    avif_threads = AvifImagePlugin.DEFAULT_MAX_THREADS
    png_bytes = PngImagePlugin.MAX_TEXT_CHUNK
    cv2_threads, uses_ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    with warnings.catch_warnings(), heif_threads_restored():
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = max_pixels
            Image.Exif = exif  # type: ignore[misc]
            AvifImagePlugin.DEFAULT_MAX_THREADS = avif_threads
            PngImagePlugin.MAX_TEXT_CHUNK = png_bytes
            cv2.setNumThreads(cv2_threads)
            cv2.ipp.setUseIPP(uses_ipp)
