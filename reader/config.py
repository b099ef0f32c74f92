"""How to read: one frozen value, checked when it is made. No TensorFlow in here."""

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from reader.contract.errors import UsageError
from reader.contract.schema import EXTRA

OUTPUTS = (
    "image",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "height",
    "width",
)
DEFAULT_OUTPUTS = ("image", "tokens", "mask")


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How to read.

    Attributes:
        batch_size: Examples per step.
        image_size: (height, width) in pixels; None for images as they are stored.
        crop: `center`, or `none` to stretch the whole image.
        crop_fraction: Of the largest region with the target's aspect ratio.
        max_tokens: Tokens of a caption, start and end among them.
        add_special_tokens: Whether captions begin with start and close with end.
        shuffle: Whether every epoch has an order of its own.
        seed: Of these orders.
        shuffle_bytes: How much is held for shuffling, in encoded bytes.
        outputs: What a batch holds, in order; None for a dictionary of the usual.

    Raises:
        UsageError: A value is out of range; it is named and shown.
    """

    batch_size: int
    image_size: tuple[int, int] | None = None
    crop: str = "center"
    crop_fraction: float = 0.875
    max_tokens: int = 64
    add_special_tokens: bool = True
    shuffle: bool = True
    seed: int = 0
    shuffle_bytes: int = 64 << 20
    outputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Checks every value."""
        for field, at_least in (
            ("batch_size", 1),
            ("max_tokens", 1),
            ("shuffle_bytes", 1),
            ("seed", 0),
        ):
            value = whole_number(field, getattr(self, field))
            if value < at_least:
                raise UsageError(f"{field} must be at least {at_least}, got {value}")
        if self.image_size is not None and min(self.image_size) < 1:
            raise UsageError(f"image_size must be positive, got {self.image_size}")
        if self.crop not in ("center", "none"):
            raise UsageError(f'crop must be "center" or "none", got "{self.crop}"')
        fraction = self.crop_fraction
        if not isinstance(fraction, numbers.Real) or not 0 < fraction <= 1:
            raise UsageError(
                f"crop_fraction must be above 0 and at most 1, got {fraction!r}"
            )
        self._check_outputs()

    def _check_outputs(self) -> None:
        for name in self.outputs if self.outputs is not None else ():
            if name not in OUTPUTS and not is_extra(name):
                raise UsageError(
                    f"outputs may name {', '.join(OUTPUTS)} and columns such as "
                    f"extra/score, got {name!r}"
                )
        if self.outputs == ():
            raise UsageError("outputs must not be empty: leave it out for the usual")

    @property
    def names(self) -> tuple[str, ...]:
        """What a batch holds."""
        return DEFAULT_OUTPUTS if self.outputs is None else self.outputs


def is_extra(name: object) -> bool:
    """Tells whether an output is a column that was carried through."""
    return isinstance(name, str) and name.startswith(EXTRA)


def whole_number(field: str, value: object) -> int:
    """Returns a whole number of any type, NumPy's among them.

    Raises:
        UsageError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{field} must be a whole number, got {value!r}")
    return int(value)


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


def output_names(outputs: object) -> tuple[str, ...] | None:
    """Returns the names of what a caller gave as `outputs`.

    Raises:
        UsageError: It is no sequence of names.
    """
    if outputs is None:
        return None
    if isinstance(outputs, str) or not isinstance(outputs, Sequence):
        raise UsageError(
            f'outputs must be a tuple of names such as ("image",), got {outputs!r}'
        )
    return tuple(outputs)
