"""Pixels: those of a decoded image of any mode → upright 8-bit RGB."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from beam_jobs.colour import cmyk_to_srgb, colours_to_srgb
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


def has_colours_done(image: Image.Image) -> bool:
    """Whether `to_rgb` converts an image's colours itself, where a profile asks for it.

    What is laid over white must have its own colours first.
    """
    return image.mode == "CMYK" or image.has_transparency_data


def _upper_bytes(image: Image.Image) -> Pixels:
    deep = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((deep >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return np.asarray(grey.convert("RGB"))
    in_srgb = colours_to_srgb(grey, image.info.get("icc_profile"), "L")
    pixels = np.array(in_srgb or grey.convert("RGB"))
    pixels[deep == image.info["transparency"]] = 255
    return pixels


def _over_white(image: Image.Image) -> Pixels:
    profile = image.info.get("icc_profile")
    mode = image.mode
    image = image.convert("RGBA")
    in_srgb = colours_to_srgb(image.convert("RGB"), profile, mode)
    if in_srgb is not None:
        in_srgb.putalpha(image.getchannel("A"))
        image = in_srgb
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
