"""Marks on an axis: steps that people count in."""

import math
from collections.abc import Iterator


def round_step(at_least: float) -> float:
    """Returns the smallest of 1, 2, 5, 10, 20, … and their tenths that is enough.

    >>> round_step(0.3), round_step(7), round_step(20)
    (0.5, 10.0, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(at_least))
    # Rounding must not make 1.0000000000000002 of 1, and so the step twice as long.
    steps = (step * power for step in (1, 2, 5, 10))
    return next(step for step in steps if step >= at_least * (1 - 1e-9))


def marks_between(low: float, high: float, at_most: int) -> Iterator[float]:
    """Yields round numbers from `low` to `high`, equally far apart."""
    step = round_step((high - low) / at_most)
    number = math.ceil(low / step - 1e-9)
    while number * step <= high + step * 1e-9:
        yield number * step
        number += 1
