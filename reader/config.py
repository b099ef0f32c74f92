"""How to read: one frozen value, checked when it is made. No TensorFlow in here."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from reader.contract.errors import UsageError
from reader.contract.schema import EXTRA
from reader.plan import NUM_STREAMS

OUTPUTS = (
    "image",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "height",
    "width",
    "valid",
)
DEFAULT_OUTPUTS = ("image", "tokens", "mask")

_AT_LEAST = {
    "batch_size": 1,
    "max_tokens": 1,
    "shuffle_bytes": 1,
    "seed": 0,
    "epochs": 1,
    "start_step": 0,
    "start_example": 0,
    "host_index": 0,
    "host_count": 1,
}
_MAY_BE_NONE = ("epochs", "start_example")
_WORDS = {
    "crop": ("center", "none"),
    "remainder": ("drop", "pad"),
    "on_corrupt": ("raise", "skip"),
}


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
        shuffle_bytes: How much is held for shuffling, over all hosts, in encoded bytes.
        bucket_by_length: Whether windows are sorted by the length of captions.
        epochs: In an iterator; None for endless ones.
        start_step: Number of the first step.
        start_example: Where to begin instead, in examples.
        host_index, host_count: This host, of how many.
        remainder: `drop` an epoch's last examples, or `pad` their batch.
        on_corrupt: `raise`, or `skip` to replace a damaged record.
        outputs: What a batch holds, in order; None for a dictionary of the usual.
        absent: Of the usual, what the records do not hold.

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
    bucket_by_length: bool = False
    epochs: int | None = 1
    start_step: int = 0
    start_example: int | None = None
    host_index: int = 0
    host_count: int = 1
    remainder: str = "drop"
    on_corrupt: str = "raise"
    outputs: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every value."""
        for field, at_least in _AT_LEAST.items():
            value = getattr(self, field)
            if value is not None or field not in _MAY_BE_NONE:
                _check_at_least(field, value, at_least)
        if self.image_size is not None and min(self.image_size) < 1:
            raise UsageError(f"image_size must be positive, got {self.image_size}")
        for field in ("shuffle", "bucket_by_length", "add_special_tokens"):
            if not isinstance(getattr(self, field), bool):
                raise UsageError(
                    f"{field} must be True or False, got {getattr(self, field)!r}"
                )
        for field, words in _WORDS.items():
            _check_word(field, getattr(self, field), words)
        fraction = self.crop_fraction
        if not isinstance(fraction, numbers.Real) or not 0 < fraction <= 1:
            raise UsageError(
                f"crop_fraction must be above 0 and at most 1, got {fraction!r}"
            )
        self._check_start()
        self._check_hosts()
        self._check_outputs()

    def _check_start(self) -> None:
        if self.start_example is not None and self.start_step:
            raise UsageError(
                "start_step and start_example say the same thing: give one of them, "
                f"got {self.start_step} and {self.start_example}"
            )
        if self.bucket_by_length and not self.shuffle:
            raise UsageError(
                "bucket_by_length brings examples in another order and shuffle=False "
                "keeps theirs: leave one of them out"
            )

    def _check_hosts(self) -> None:
        index, num = self.host_index, self.host_count
        if index >= num:
            raise UsageError(f"host_index must be below host_count, got {index}, {num}")
        if self.batch_size % num:
            raise UsageError(
                "batch_size must be divisible by host_count, got "
                f"{self.batch_size} and {num}: {self._permitted_hosts()}"
            )
        if NUM_STREAMS % num:
            raise UsageError(
                f"host_count must divide {NUM_STREAMS}, got {num}: "
                f"{self._permitted_hosts()}"
            )

    def _permitted_hosts(self) -> str:
        both = math.gcd(self.batch_size, NUM_STREAMS)
        counts = [str(num) for num in range(1, both + 1) if both % num == 0]
        return (
            f"with batch_size {self.batch_size}, host_count may be "
            f"{', '.join(counts)} (what divides both that and {NUM_STREAMS})"
        )

    def _check_outputs(self) -> None:
        for name in self.outputs if self.outputs is not None else ():
            if name not in OUTPUTS and not is_extra(name):
                raise UsageError(
                    f"outputs may name {', '.join(OUTPUTS)} and columns such as "
                    f"extra/score, got {name!r}"
                )
        if self.outputs == ():
            raise UsageError("outputs must not be empty: leave it out for the usual")
        if "valid" in self.names and not self.may_be_invalid:
            raise UsageError(
                'outputs names valid, but every example is: pass remainder="pad" or '
                'on_corrupt="skip", or leave it out'
            )

    @property
    def may_be_invalid(self) -> bool:
        """Whether a place of a batch may hold no example of its own."""
        return self.remainder == "pad" or self.on_corrupt == "skip"

    @property
    def names(self) -> tuple[str, ...]:
        """What a batch holds."""
        if self.outputs is not None:
            return self.outputs
        usual = DEFAULT_OUTPUTS + (("valid",) if self.remainder == "pad" else ())
        return tuple(name for name in usual if name not in self.absent)

    @property
    def host_batch_size(self) -> int:
        """Examples per step of one host."""
        return self.batch_size // self.host_count


def _check_at_least(field: str, value: object, at_least: int) -> None:
    number = whole_number(field, value)
    if number < at_least:
        raise UsageError(f"{field} must be at least {at_least}, got {number}")


def _check_word(field: str, value: object, words: tuple[str, ...]) -> None:
    if value not in words:
        shown = " or ".join(f'"{word}"' for word in words)
        raise UsageError(f'{field} must be {shown}, got "{value}"')


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
