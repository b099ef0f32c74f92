"""Pixels: those of a decoded image of any mode → upright 8-bit RGB."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput

Pixels = NDArray[np.uint8]

# The EXIF orientations as (transpose first, flip upside down, flip left to right).
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

_WITH_A_RULE = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}
_WITH_A_RULE |= {"CMYK", "YCbCr"}


def swaps_sides(orientation: int) -> bool:
    """Tells whether turning by an EXIF orientation makes height of width."""
    return orientation in TURNS and TURNS[orientation][0]


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Returns the pixels as they are to be seen, given their EXIF orientation.

    Of 1, and of any that EXIF does not know, they are returned themselves. Source: EXIF
    2.32, tag 0x0112.
    """
    if orientation not in TURNS:
        return pixels
    transpose, upside_down, left_right = TURNS[orientation]
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    if upside_down:
        pixels = pixels[::-1]
    if left_right:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def check_mode(mode: str) -> None:
    """Checks that pixels of a mode have a rule to become 8-bit RGB.

    Raises:
        BadInput: They have none.
    """
    if mode not in _WITH_A_RULE and not mode.startswith("I;16"):
        raise BadInput("unsupported_image", f"pixels of mode {mode}")


def to_rgb(image: Image.Image) -> Pixels:
    """Returns uint8[height, width, 3] of a decoded image of any mode.

    16-bit grey keeps its upper byte; what is transparent is laid over white; CMYK goes
    by its profile, if it has one.

    Raises:
        BadInput: Its mode has no rule.
    """
    check_mode(image.mode)
    if image.mode.startswith("I;16"):
        return _upper_bytes(image)
    if image.mode == "CMYK":
        image = cmyk_to_srgb(image, image.info.get("icc_profile")) or image
    if image.has_transparency_data:
        return _over_white(image)
    return np.asarray(image.convert("RGB"))


def has_colors_done(image: Image.Image) -> bool:
    """Whether `to_rgb` converts an image's colours itself, where a profile asks for it.

    What is laid over white must have its own colours first.
    """
    return image.mode == "CMYK" or image.has_transparency_data


def _upper_bytes(image: Image.Image) -> Pixels:
    deep = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((deep >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return np.asarray(grey.convert("RGB"))
    in_srgb = colors_to_srgb(grey, image.info.get("icc_profile"), "L")
    pixels = np.array(in_srgb or grey.convert("RGB"))
    pixels[deep == image.info["transparency"]] = 255
    return pixels


def _over_white(image: Image.Image) -> Pixels:
    profile = image.info.get("icc_profile")
    mode = image.mode
    image = image.convert("RGBA")
    in_srgb = colors_to_srgb(image.convert("RGB"), profile, mode)
    if in_srgb is not None:
        in_srgb.putalpha(image.getchannel("A"))
        image = in_srgb
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


# How many of 255 levels an sRGB profile may be off: they come with several roundings of
# the same curve.
_SAME_COLOR = 3

# In bytes. Those of printing presses have one or two million.
_LARGEST_PROFILE = 4 << 20

# Modes of pixels, by what a profile calls its colour space.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


# Modes of files, by the mode that a profile for them is made for.
_PROFILED_AS = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "L": "L", "LA": "L"}
_PROFILED_AS |= {"PA": "RGB", "RGBX": "RGB", "RGBa": "RGB", "La": "L"}
_PROFILED_AS |= dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "L")


def changes_colors(profile: bytes | None, mode: str) -> bool:
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
    in_srgb = colors_to_srgb(image, profile, mode)
    return pixels if in_srgb is None else np.asarray(in_srgb)


def colors_to_srgb(
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
        return transform if _changes_colors(transform, mode) else None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _changes_colors(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
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
    return bool(difference > _SAME_COLOR)
