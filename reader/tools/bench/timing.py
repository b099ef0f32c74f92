"""What ways to read cost, measured side by side.

All take turns, so that what else the machine does falls on each alike.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

# Enough to see an outlier; each begins iterators anew, which is as dear as 100 images.
_ROUNDS = 3
# Of the time: what makes few batches in a second needs more of it for a good mean.
_WEIGHTS = {"read": 1, "CRC": 1, "parse": 2, "copy": 1}
_WEIGHT = 6
# What an iterator gives before it is measured: what was made ahead.
_WARM_UP = 3


class Cost(NamedTuple):
    """What reading some images cost.

    Attributes:
        num: Images.
        seconds: Of wall time.
        cpu_seconds: Of all threads, user and system.
    """

    num: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Images a second."""
        return self.num / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of a core for an image."""
        return 1e6 * self.cpu_seconds / self.num


Read = Callable[[], Generator[int, None, None]]


def measure(variants: Mapping[str, Read], seconds: float) -> dict[str, Cost]:
    """Returns what each of some ways to read costs: the best of some rounds.

    Args:
        variants: Functions that begin to read, and give numbers of images.
        seconds: For all of them together, about; one round is always whole.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    weights = {name: _WEIGHTS.get(name, _WEIGHT) for name in variants}
    part = seconds / _ROUNDS / sum(weights.values())
    end = time.perf_counter() + seconds
    for number in range(_ROUNDS):
        if number and time.perf_counter() > end:
            break  # Where beginning takes long, there are fewer rounds.
        for name, read in variants.items():
            costs[name].append(_cost(read, part * weights[name]))
    # What else goes on only ever adds to it.
    return {name: min(of, key=lambda cost: cost.cpu_us) for name, of in costs.items()}


def _cost(read: Read, seconds: float) -> Cost:
    end = time.perf_counter() + seconds
    with contextlib.closing(read()) as counts:
        for _ in range(_WARM_UP):
            next(counts)
        num, began, cpu = 0, time.perf_counter(), time.process_time()
        for count in counts:
            num += count
            # Some is measured even where beginning took all the time there was.
            if time.perf_counter() > max(end, began + seconds / 4):
                break
        return Cost(num, time.perf_counter() - began, time.process_time() - cpu)
