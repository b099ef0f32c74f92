"""Colour: pixels under an embedded ICC profile → sRGB.

The profile says what the numbers mean; sRGB is what training code takes them for.
Perceptual intent, by LittleCMS.
"""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# How many of 255 levels an sRGB profile may be off: they come with several roundings of
# the same curve.
_SAME_COLOUR = 3

# In bytes. Those of printing presses have one or two million.
_LARGEST_PROFILE = 4 << 20

# Modes of pixels, by what a profile calls its colour space.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


# Modes of files, by the mode that a profile for them is made for.
_PROFILED_AS = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "L": "L", "LA": "L"}
_PROFILED_AS |= {"PA": "RGB", "RGBX": "RGB", "RGBa": "RGB", "La": "L"}
_PROFILED_AS |= dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "L")


def changes_colours(profile: bytes | None, mode: str) -> bool:
    """Tells whether a profile asks for other colours than pixels of `mode` have.

    That is not so without one, with one that is sRGB itself or cannot be read, and with
    one for other pixels than those of `mode`, which the file has.
    """
    return _transform_for(profile, mode) is not None


def pixels_to_srgb(
    pixels: NDArray[np.uint8], profile: bytes | None, mode: str
) -> NDArray[np.uint8]:
    """Returns uint8[height, width, 3] in sRGB; themselves where nothing is to be done.

    `mode` is that which the file had.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    in_srgb = colours_to_srgb(image, profile, mode)
    return pixels if in_srgb is None else np.asarray(in_srgb)


def colours_to_srgb(
    image: Image.Image, profile: bytes | None, mode: str
) -> Image.Image | None:
    """Returns an RGB image in sRGB, or None where nothing is to be done, likewise."""
    transform = _transform_for(profile, mode)
    if transform is None:
        return None
    return ImageCms.applyTransform(image.convert(transform.input_mode), transform)


def _transform_for(
    profile: bytes | None, mode: str
) -> ImageCms.ImageCmsTransform | None:
    transform = _transform(profile) if profile else None
    if transform is None or transform.input_mode != _PROFILED_AS.get(mode):
        return None
    return transform


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Returns a CMYK image in sRGB, or None without a profile for it."""
    transform = _transform(profile) if profile else None
    if transform is None or transform.input_mode != "CMYK":
        return None
    return ImageCms.applyTransform(image, transform)


def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    return None if len(profile) > _LARGEST_PROFILE else _make_transform(profile)


# The cache keeps the profiles themselves too.
@functools.lru_cache(maxsize=16)
def _make_transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(source.profile.xcolor_space.strip())
        if mode is None:
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
