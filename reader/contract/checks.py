"""Checks of caller arguments; each error names the argument and shows its value."""

import difflib
import numbers
from collections.abc import Callable, Iterable, Sequence

from reader.contract.errors import UsageError


def whole_number(field: str, value: object) -> int:
    """Returns a whole number of any integer type, including NumPy's, as an `int`.

    Raises:
        UsageError: The value is not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{field} must be a whole number, got {value!r}")
    return int(value)


def check_at_least(field: str, value: object, at_least: int) -> int:
    """Returns a whole number of any integer type, with a minimum, as an `int`.

    Raises:
        UsageError: The value is not a whole number, or is below `at_least`.
    """
    number = whole_number(field, value)
    if number < at_least:
        raise UsageError(f"{field} must be at least {at_least}, got {number}")
    return number


def check_at_most(field: str, value: int, at_most: int) -> None:
    """Checks a number that was checked to be whole.

    Raises:
        UsageError: The value is above `at_most`.
    """
    if value > at_most:
        raise UsageError(f"{field} must be at most {at_most}, got {value}")


def check_word(field: str, value: object, words: Sequence[str]) -> None:
    """Checks that a value is one of the allowed words.

    Raises:
        UsageError: The value is not one of `words`.
    """
    if not isinstance(value, str) or value not in words:
        shown = " or ".join(f'"{word}"' for word in words)
        given = f'"{value}"' if isinstance(value, str) else repr(value)
        raise UsageError(f"{field} must be {shown}, got {given}")


def check_flag(field: str, value: object) -> None:
    """Checks that a value is True or False.

    Raises:
        UsageError: The value is not a `bool`.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{field} must be True or False, got {value!r}")


def is_positive(value: object) -> bool:
    """Returns whether a value is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return 0 < float(value) < float("inf")


def number_range(field: str, value: object) -> tuple[float, float]:
    """Returns a caller's (smallest, largest) pair of positive numbers as floats.

    Raises:
        UsageError: The value is not such a pair, or the numbers are in the wrong order.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
        if is_positive(low) and is_positive(high) and low <= high:
            return float(low), float(high)
    raise UsageError(
        f"{field} must be (smallest, largest), both positive, got {value!r}"
    )


def _undashed(word: str) -> str:
    return word.lstrip("-")


def did_you_mean(
    word: str,
    *known: Iterable[str],
    otherwise: str,
    bare: Callable[[str], str] = _undashed,
) -> str:
    """Returns a suggestion for a mistyped word.

    Args:
        word: Word, or flag with its dashes.
        known: Collections of known words. A word of a later collection is suggested
            only if no word of an earlier one is similar.
        otherwise: Result if no word is similar.
        bare: Function that removes what does not make two words similar, such as the
            dashes that all flags have in common.
    """
    for words in known:
        by_bare = {bare(word): word for word in words}
        for near in difflib.get_close_matches(bare(word), by_bare, n=1):
            return f"did you mean {by_bare[near]}?"
    return otherwise
