"""Measures the cost of several ways to read, side by side.

They run round-robin, so that other load on the machine affects each of them equally.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

from reader.pixel_workers.worker_pool import cpu_seconds_of_workers
from reader.range_cache import hits
from reader.remote_records.waits import waits

# Enough to detect an outlier. Each round creates new iterators, which costs as much as
# reading 100 images.
_ROUNDS = 3
# Shares of the time. Slow variants yield few batches per second, so they need more time
# for a good mean.
_WEIGHTS = {"read": 1, "CRC": 1, "parse": 2}
_WEIGHT = 6
# Number of items to skip before measuring: they were prefetched.
_WARM_UP = 3


class Cost(NamedTuple):
    """The cost of reading some images.

    Attributes:
        num: Number of images.
        seconds: Wall time in seconds.
        cpu_seconds: CPU time of all threads and pixel workers in seconds, user and
            system.
        store_seconds: Time that batches waited for an object store in seconds.
        from_cache: Share of the bytes that a bounded cache had; None without one.
    """

    num: int
    seconds: float
    cpu_seconds: float
    store_seconds: float = 0.0
    from_cache: float | None = None

    @property
    def per_second(self) -> float:
        """Images per second of wall time."""
        return self.num / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time in microseconds per image."""
        return 1e6 * self.cpu_seconds / self.num


Read = Callable[[], Generator[int, None, None]]


def measure(variants: Mapping[str, Read], seconds: float) -> dict[str, Cost]:
    """Returns the cost of each variant, the best of several rounds.

    Args:
        variants: Functions that start to read and yield numbers of images, by name.
        seconds: Approximate time for all variants together, in seconds. At least one
            round is completed.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    weights = {name: _WEIGHTS.get(name, _WEIGHT) for name in variants}
    part = seconds / _ROUNDS / sum(weights.values())
    end = time.perf_counter() + seconds
    for number in range(_ROUNDS):
        if number and time.perf_counter() > end:
            break  # If starting is slow, there are fewer rounds.
        for name, read in variants.items():
            costs[name].append(_cost(read, part * weights[name]))
    # Other load on the machine can only increase the cost, so the minimum is best.
    return {name: min(of, key=lambda cost: cost.cpu_us) for name, of in costs.items()}


def _cost(read: Read, seconds: float) -> Cost:
    end = time.perf_counter() + seconds
    # What is requested before the first batch counts: with large windows, it is most.
    cached = hits.snapshot()
    with contextlib.closing(read()) as counts:
        for _ in range(_WARM_UP):
            next(counts)
        num, began, cpu = 0, time.perf_counter(), _cpu_seconds()
        store = waits.seconds
        for count in counts:
            num += count
            # Measures for a minimum time even if starting took all of it.
            if time.perf_counter() > max(end, began + seconds / 4):
                break
        seconds = time.perf_counter() - began
        return Cost(
            num,
            seconds,
            _cpu_seconds() - cpu,
            waits.seconds - store,
            hits.snapshot().share_since(cached),
        )


def _cpu_seconds() -> float:
    return time.process_time() + cpu_seconds_of_workers()
