"""Settings of Pillow and OpenCV that hold for a whole process, set by its workers."""

import contextlib
import warnings
from collections.abc import Iterator

import cv2
from PIL import AvifImagePlugin, Image


def configure_codecs() -> None:
    """Sets the codecs up for encoding; a worker calls it before its first image.

    - Pillow's guard against large images is off: `max_pixels` is checked instead,
      before anything is decoded.
    - One thread per image: the job runs many at once.
    - OpenCV's IPP is off: it rounds differently, and only some machines have it.
    - Pillow's warnings of unreadable metadata are off: the pixels are what counts.
    """
    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextlib.contextmanager
def codecs_restored() -> Iterator[None]:
    """Restores these settings at the end, for a caller whose process did the work."""
    max_pixels = Image.MAX_IMAGE_PIXELS
    avif_threads = AvifImagePlugin.DEFAULT_MAX_THREADS
    cv2_threads, uses_ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    with warnings.catch_warnings():
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = max_pixels
            AvifImagePlugin.DEFAULT_MAX_THREADS = avif_threads
            cv2.setNumThreads(cv2_threads)
            cv2.ipp.setUseIPP(uses_ipp)
