"""Converts pixels of any mode to upright 8-bit RGB, and colors to sRGB."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput

Pixels = NDArray[np.uint8]

# EXIF orientations as (transpose first, flip vertically, flip horizontally).
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

# Pillow's pixel modes that `to_rgb` converts, besides 16-bit gray.
_SUPPORTED_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}
_SUPPORTED_MODES |= {"CMYK", "YCbCr"}


def swaps_sides(orientation: int) -> bool:
    """Returns whether an EXIF orientation swaps height and width."""
    return orientation in TURNS and TURNS[orientation][0]


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turns pixels upright, given their EXIF orientation.

    Returns the same array for orientation 1 and for values that EXIF does not define.
    Source: EXIF 2.32, tag 0x0112.
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
    """Checks that pixels of a mode can be converted to 8-bit RGB.

    Raises:
        BadInput: The mode is not supported.
    """
    if mode not in _SUPPORTED_MODES and not mode.startswith("I;16"):
        raise BadInput("unsupported_image", f"pixels of mode {mode}")


def to_rgb(image: Image.Image) -> Pixels:
    """Converts a decoded image of any mode to uint8[height, width, 3].

    16-bit gray keeps its upper byte. Transparent pixels are blended with white. CMYK is
    converted with its ICC profile, if it has one.

    Raises:
        BadInput: The mode is not supported.
    """
    check_mode(image.mode)
    if image.mode.startswith("I;16"):
        return _upper_bytes(image)
    if image.mode == "CMYK":
        image = cmyk_to_srgb(image, image.info.get("icc_profile")) or image
    if image.has_transparency_data:
        return _blend_with_white(image)
    return np.asarray(image.convert("RGB"))


def has_colors_done(image: Image.Image) -> bool:
    """Returns whether `to_rgb` applies the ICC profile of an image.

    Colors must be converted before transparent pixels are blended with white.
    """
    return image.mode == "CMYK" or image.has_transparency_data


def _upper_bytes(image: Image.Image) -> Pixels:
    deep = np.asarray(image).astype(np.uint16)
    gray = Image.fromarray((deep >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return np.asarray(gray.convert("RGB"))
    in_srgb = colors_to_srgb(gray, image.info.get("icc_profile"), "L")
    pixels = np.array(in_srgb or gray.convert("RGB"))
    pixels[deep == image.info["transparency"]] = 255
    return pixels


def _blend_with_white(image: Image.Image) -> Pixels:
    profile = image.info.get("icc_profile")
    mode = image.mode
    image = image.convert("RGBA")
    in_srgb = colors_to_srgb(image.convert("RGB"), profile, mode)
    if in_srgb is not None:
        in_srgb.putalpha(image.getchannel("A"))
        image = in_srgb
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


# Maximum difference, in levels of 255, between a profile and sRGB that counts as equal:
# sRGB profiles exist with several roundings of the same curve.
_SAME_COLOR = 3

# Maximum size of an ICC profile in bytes. Profiles of printing presses have one or two
# million bytes.
_MAX_PROFILE_BYTES = 4 << 20

# Pillow's pixel mode for each color space of a profile.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


# Mode that a profile must have, for each pixel mode of a file.
_PROFILE_MODES = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "L": "L", "LA": "L"}
_PROFILE_MODES |= {"PA": "RGB", "RGBX": "RGB", "RGBa": "RGB", "La": "L"}
_PROFILE_MODES |= dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "L")


def changes_colors(profile: bytes | None, mode: str) -> bool:
    """Returns whether converting to sRGB changes the colors of an image.

    Returns False if the profile is missing, sRGB, unreadable, or made for another pixel
    mode.

    Args:
        profile: ICC profile of the file, or None.
        mode: Pixel mode of the file.
    """
    return _transform_for(profile, mode) is not None


def pixels_to_srgb(
    pixels: NDArray[np.uint8], profile: bytes | None, mode: str
) -> NDArray[np.uint8]:
    """Converts pixels to sRGB.

    Returns the same array if `changes_colors` is False.

    Args:
        pixels: uint8[height, width, 3].
        profile: ICC profile of the file, or None.
        mode: Pixel mode of the file, before its conversion to RGB.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    in_srgb = colors_to_srgb(image, profile, mode)
    return pixels if in_srgb is None else np.asarray(in_srgb)


def colors_to_srgb(
    image: Image.Image, profile: bytes | None, mode: str
) -> Image.Image | None:
    """Returns an RGB image in sRGB, or None if `changes_colors` is False."""
    transform = _transform_for(profile, mode)
    if transform is None:
        return None
    return ImageCms.applyTransform(image.convert(transform.input_mode), transform)


def _transform_for(
    profile: bytes | None, mode: str
) -> ImageCms.ImageCmsTransform | None:
    transform = _transform(profile) if profile else None
    if transform is None or transform.input_mode != _PROFILE_MODES.get(mode):
        return None
    return transform


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Returns a CMYK image in sRGB, or None without a CMYK profile."""
    transform = _transform(profile) if profile else None
    if transform is None or transform.input_mode != "CMYK":
        return None
    return ImageCms.applyTransform(image, transform)


def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    return None if len(profile) > _MAX_PROFILE_BYTES else _make_transform(profile)


# The cache also keeps the bytes of the profiles in memory.
@functools.lru_cache(maxsize=16)
def _make_transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(source.profile.xcolor_space.strip())
        if mode is None:
            return None
        transform = _built(source, mode)
        if mode == "CMYK":
            return transform
        if mode == "L":
            transform = _accurate(transform, source)
        colors = _GRAYS if mode == "L" else _COLORS
        # Names of profiles are not reliable.
        changes = _differ(_applied(transform, colors), colors.convert("RGB"))
        return transform if changes else None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _built(
    source: ImageCms.ImageCmsProfile,
    mode: str,
    flags: ImageCms.Flags = ImageCms.Flags.NONE,
) -> ImageCms.ImageCmsTransform:
    # NOCACHE, because the cache of lcms is not thread-safe.
    flags |= ImageCms.Flags.NOCACHE
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, srgb, mode, "RGB", flags=flags)


def _accurate(
    transform: ImageCms.ImageCmsTransform, source: ImageCms.ImageCmsProfile
) -> ImageCms.ImageCmsTransform:
    """Returns a transform of gray, or the exact one if it is too far from that.

    LittleCMS interpolates gray between a few levels, which misses the dark ones of a
    steep curve by up to ten. The exact transform takes ten times as long.
    """
    exact = _built(source, "L", ImageCms.Flags.NOOPTIMIZE)
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    is_far = _differ(_applied(transform, levels), _applied(exact, levels))
    return exact if is_far else transform


# Colors on which transforms are compared with sRGB.
_STEPS = np.arange(0, 256, 17, dtype=np.uint8)
_GRID = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1)
_GRAYS, _COLORS = (
    Image.fromarray(_STEPS[np.newaxis]),
    Image.fromarray(_GRID.reshape(len(_STEPS), -1, 3)),
)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    return result


def _differ(one: Image.Image, other: Image.Image) -> bool:
    """Returns whether colors differ by more than `_SAME_COLOR`."""
    difference = np.asarray(one, np.int16) - np.asarray(other, np.int16)
    return bool(np.abs(difference).max() > _SAME_COLOR)
