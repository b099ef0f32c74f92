"""The image settings of `load` as a frozen dataclass, validated on construction."""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader.config import defaults
from reader.contract.checks import (
    check_flag,
    check_word,
    is_positive,
    number_range,
    whole_number,
)
from reader.contract.errors import UsageError

# Means and standard deviations of red, green and blue in [0, 1], with which these model
# families were trained. ImageNet: torchvision, "Models and pre-trained weights". CLIP:
# Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
# 2021, in its released code.
_KNOWN = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}
_WORDS = {
    "crop": ("center", "random", "random_resized", "none"),
    "dtype": ("float32", "uint8", "bfloat16"),
    "data_format": ("channels_last", "channels_first"),
}

# Attempts to draw a region that fits into the image, as in torchvision.
RESIZED_TRIES = 10

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """Settings for cropping, resizing, flipping and converting images.

    Attributes:
        size: Size of the images in a batch, (height, width) in pixels; None to keep the
            stored size.
        crop: Crop mode: `center`, `random`, `random_resized`, or `none` to stretch the
            whole image to `size`.
        fraction: Side of the cropped region as a fraction of the largest region with
            the aspect ratio of `size`, for `center` and `random`.
        scale: Smallest and largest area of the cropped region as a fraction of the
            image's area, for `random_resized`.
        ratio: Smallest and largest aspect ratio of the cropped region, width / height,
            for `random_resized`.
        flip: Whether images are flipped horizontally with a probability of 1/2.
        dtype: Type of pixel values: `float32`, `uint8` or `bfloat16`.
        normalize: Mean and standard deviation of each channel, in [0, 1]; None for no
            normalization.
        data_format: Order of dimensions: `channels_last` or `channels_first`.

    Raises:
        UsageError: A value is out of range. The message names the argument and shows
            its value.
    """

    size: tuple[int, int] | None = None
    crop: str = defaults.CROP
    fraction: float = defaults.CROP_FRACTION
    scale: tuple[float, float] = defaults.CROP_SCALE
    ratio: tuple[float, float] = defaults.CROP_RATIO
    flip: bool = defaults.FLIP
    dtype: str = defaults.DTYPE
    normalize: tuple[Triple, Triple] | None = None
    data_format: str = defaults.DATA_FORMAT

    def __post_init__(self) -> None:
        """Checks every value."""
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"image_size must be positive, got {self.size}")
        for field, words in _WORDS.items():
            check_word(field, getattr(self, field), words)
        check_flag("flip", self.flip)
        fraction = self.fraction
        if not is_positive(fraction) or fraction > 1:
            raise UsageError(
                f"crop_fraction must be above 0 and at most 1, got {fraction!r}"
            )
        if self.scale[1] > 1:
            raise UsageError(
                "crop_scale is a fraction of the image's area and must be at most 1, "
                f"got {self.scale}"
            )
        if self.dtype == "uint8" and self.normalize is not None:
            raise UsageError(
                'normalize gives fractions, which dtype="uint8" cannot hold: pass '
                '"float32" or "bfloat16", or normalize on the accelerator'
            )
        if self.size is None and self.crop in ("random", "random_resized"):
            raise UsageError(
                f'crop="{self.crop}" needs a size to resize its regions to: pass '
                "image_size"
            )

    @property
    def target(self) -> tuple[int, int]:
        """Size of the images in a batch, (height, width) in pixels.

        Raises:
            ValueError: The size is None.
        """
        if self.size is None:
            raise ValueError("image_size must be known before images are decoded")
        return self.size

    @property
    def num_draws(self) -> dict[str, int]:
        """Random numbers needed per image, `{use: count}`."""
        crop = {"random": 2, "random_resized": 2 + 2 * RESIZED_TRIES}.get(self.crop, 0)
        return {"crop": crop, "flip": int(self.flip)}


def image_config(
    *,
    image_size: object,
    crop: str,
    crop_fraction: float,
    crop_scale: object,
    crop_ratio: object,
    flip: bool,
    dtype: object,
    normalize: object,
    data_format: str,
) -> ImageConfig:
    """Returns the settings of the caller's arguments, as `load` and `open` have them.

    Raises:
        UsageError: A value is invalid.
    """
    return ImageConfig(
        size=image_size_pair(image_size),
        crop=crop,
        fraction=crop_fraction,
        scale=number_range("crop_scale", crop_scale),
        ratio=number_range("crop_ratio", crop_ratio),
        flip=flip,
        dtype=str(_dtype_name(dtype)),
        normalize=mean_and_std(normalize),
        data_format=data_format,
    )


def image_size_pair(size: object) -> tuple[int, int] | None:
    """Returns the caller's `image_size` argument as (height, width) in pixels.

    Raises:
        UsageError: The value is neither a whole number nor a pair of whole numbers.
    """
    if size is None:
        return None
    if isinstance(size, (tuple, list)) and len(size) == 2:
        height, width = (whole_number("image_size", side) for side in size)
        return height, width
    if isinstance(size, numbers.Integral) and not isinstance(size, bool):
        return int(size), int(size)
    raise UsageError(f"image_size must be an int or (height, width), got {size!r}")


def _dtype_name(dtype: object) -> object:
    """Returns the name of a NumPy or TensorFlow dtype; other values unchanged."""
    return getattr(dtype, "name", dtype)


def mean_and_std(normalize: object) -> tuple[Triple, Triple] | None:
    """Returns the caller's `normalize` argument as (mean, standard deviation).

    Raises:
        UsageError: The value is neither a known name nor a pair (mean, std).
    """
    if normalize is None:
        return None
    if isinstance(normalize, str):
        check_word("normalize", normalize, tuple(_KNOWN))
        return _KNOWN[normalize]
    if isinstance(normalize, (tuple, list)) and len(normalize) == 2:
        mean, std = map(_triple, normalize)
        if mean is not None and std is not None and _are_usable(mean, std):
            return mean, std
    raise UsageError(
        'normalize must be "imagenet", "clip", or (mean, std) of pixel values in '
        "[0, 1], each one number or three numbers, std above 0, got "
        f"{normalize!r}"
    )


def _triple(value: object) -> Triple | None:
    """Returns one number per channel from one or three numbers; otherwise None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    if len(values) not in (1, 3) or not all(map(_is_number, values)):
        return None
    numbers_: list[Any] = values * (3 // len(values))
    red, green, blue = map(float, numbers_)
    return red, green, blue


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _are_usable(mean: Triple, std: Triple) -> bool:
    """Returns whether normalized pixel values fit into a float32."""
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        return False
    largest = float(np.finfo(np.float32).max)
    return all(
        1 / (255 * each) < largest and (1 + abs(of)) / each < largest
        for of, each in zip(mean, std, strict=True)
    )
