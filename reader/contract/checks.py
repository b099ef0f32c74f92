"""Arguments of a caller, looked at: what is wrong is told by name, with the value."""

import numbers
from collections.abc import Sequence

from reader.contract.errors import UsageError


def whole_number(field: str, value: object) -> int:
    """Returns a whole number of any type, NumPy's among them.

    Raises:
        UsageError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{field} must be a whole number, got {value!r}")
    return int(value)


def check_at_least(field: str, value: object, at_least: int) -> int:
    """Returns a whole number of any type.

    Raises:
        UsageError: It is none, or too small a one.
    """
    number = whole_number(field, value)
    if number < at_least:
        raise UsageError(f"{field} must be at least {at_least}, got {number}")
    return number


def check_word(field: str, value: object, words: Sequence[str]) -> None:
    """Refuses what is none of some words."""
    if not isinstance(value, str) or value not in words:
        shown = " or ".join(f'"{word}"' for word in words)
        given = f'"{value}"' if isinstance(value, str) else repr(value)
        raise UsageError(f"{field} must be {shown}, got {given}")


def check_flag(field: str, value: object) -> None:
    """Refuses what is neither True nor False."""
    if not isinstance(value, bool):
        raise UsageError(f"{field} must be True or False, got {value!r}")


def is_positive(value: object) -> bool:
    """Tells whether something is a number above 0, and not infinite."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return 0 < float(value) < float("inf")


def number_range(field: str, value: object) -> tuple[float, float]:
    """Returns (smallest, largest) of what a caller gave as two positive numbers.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
        if is_positive(low) and is_positive(high) and low <= high:
            return float(low), float(high)
    raise UsageError(
        f"{field} must be (smallest, largest), both positive, got {value!r}"
    )
