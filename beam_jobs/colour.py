"""Colour: pixels under an embedded ICC profile → sRGB.

The profile says what the numbers mean; sRGB is what training code takes them for.
"""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# How many of 255 levels an sRGB profile may be off: they come with several roundings of
# the same curve.
_SAME_COLOUR = 3

# The modes of pixels that a profile's colour space speaks of.
_MODES = {"RGB": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Returns an RGB image in sRGB, or None where there is nothing to convert.

    That is so without a profile, with one that is sRGB itself, with one that cannot be
    read, and with one for another kind of pixels than these. Perceptual intent.
    """
    if not profile:
        return None
    transform = _transform(profile, image.mode)
    return None if transform is None else ImageCms.applyTransform(image, transform)


def pixels_to_srgb(
    pixels: NDArray[np.uint8], profile: bytes | None
) -> NDArray[np.uint8] | None:
    """Does the same to uint8[height, width, 3] or uint8[height, width]."""
    if not profile:
        return None
    converted = to_srgb(Image.fromarray(pixels), profile)
    return None if converted is None else np.asarray(converted)


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = str(source.profile.xcolor_space).strip()
        if mode not in _MODES.get(space, ()):
            return None
        # Without lcms's own cache, which threads must not share.
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            flags=ImageCms.Flags.NOCACHE,
        )
        return transform if _changes_colours(transform, mode) else None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tells whether a transform does anything; names of profiles tell less."""
    if mode == "CMYK":
        return True
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    if mode == "L":
        before = Image.fromarray(steps[np.newaxis])
    else:
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
        before = Image.fromarray(grid.reshape(len(steps), -1, 3))
    after = np.asarray(ImageCms.applyTransform(before, transform), np.int16)
    difference = np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max()
    return bool(difference > _SAME_COLOUR)
