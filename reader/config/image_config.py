"""How images are brought into shape: one frozen value, checked when it is made."""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader.config import defaults
from reader.contract.checks import check_flag, check_word, is_positive, whole_number
from reader.contract.errors import UsageError

# Means and standard deviations of red, green and blue in [0, 1], as the models of these
# families were trained with. ImageNet's: torchvision, "Models and pre-trained weights".
# CLIP's: Radford et al., Learning Transferable Visual Models From Natural Language
# Supervision, 2021, in its released code.
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

# Attempts to find a region of a drawn area and shape that fits, as in torchvision.
RESIZED_TRIES = 10

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How images are brought into shape.

    Attributes:
        size: (height, width) in pixels; None for images as they are stored.
        crop: `center`, `random`, `random_resized`, or `none` to stretch.
        fraction: Of the largest region with the target's aspect ratio, along a side.
        scale: Smallest and largest share of the area, of `random_resized`.
        ratio: Smallest and largest width by height, of `random_resized`.
        flip: Whether every second image, by chance, is mirrored.
        dtype: `float32`, `uint8` or `bfloat16`.
        normalize: (mean, standard deviation) of each channel, or None.
        data_format: `channels_last` or `channels_first`.

    Raises:
        UsageError: A value is out of range; it is named and shown.
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
                f"crop_scale is of an image's area, so at most 1, got {self.scale}"
            )
        if self.dtype == "uint8" and self.normalize is not None:
            raise UsageError(
                'normalize gives fractions, and dtype="uint8" has none: pass '
                '"float32" or "bfloat16", or normalize on the accelerator'
            )
        if self.size is None and self.crop in ("random", "random_resized"):
            raise UsageError(
                f'crop="{self.crop}" needs a size to bring its regions to: pass '
                "image_size"
            )

    @property
    def target(self) -> tuple[int, int]:
        """(height, width) in pixels, when it is known."""
        if self.size is None:
            raise ValueError("image_size must be known before images are decoded")
        return self.size

    @property
    def num_draws(self) -> dict[str, int]:
        """How many random numbers an image needs, by what for."""
        crop = {"random": 2, "random_resized": 2 + 2 * RESIZED_TRIES}.get(self.crop, 0)
        return {"crop": crop, "flip": int(self.flip)}


def image_size_pair(size: object) -> tuple[int, int] | None:
    """Returns (height, width) of what a caller gave as `image_size`.

    Raises:
        UsageError: It is neither a number nor a pair of numbers.
    """
    if size is None:
        return None
    if isinstance(size, (tuple, list)) and len(size) == 2:
        height, width = (whole_number("image_size", side) for side in size)
        return height, width
    if isinstance(size, numbers.Integral) and not isinstance(size, bool):
        return int(size), int(size)
    raise UsageError(f"image_size must be an int or (height, width), got {size!r}")


def dtype_name(dtype: object) -> object:
    """Returns the name of a type of NumPy's or TensorFlow's, or what it was given."""
    return getattr(dtype, "name", dtype)


def mean_and_std(normalize: object) -> tuple[Triple, Triple] | None:
    """Returns (mean, standard deviation) of what a caller gave as `normalize`.

    Raises:
        UsageError: It is neither a known name nor such a pair.
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
        'normalize must be "imagenet", "clip", or (mean, std) of images in [0, 1], a '
        f"number or three each, std above 0, got {normalize!r}"
    )


def _triple(value: object) -> Triple | None:
    """Returns a value for each channel, of one or of three; None if it is neither."""
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
    """Tells whether they leave numbers that a float32 can hold."""
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        return False
    largest = float(np.finfo(np.float32).max)
    return all(
        1 / (255 * each) < largest and (1 + abs(of)) / each < largest
        for of, each in zip(mean, std, strict=True)
    )
