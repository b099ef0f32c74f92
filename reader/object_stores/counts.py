"""Counts requests to object stores in this process and its helpers."""

import os
import threading
from typing import NamedTuple


class Counts(NamedTuple):
    """Requests to object stores.

    Attributes:
        requests: Number of requests, repeated ones included.
        bytes: Number of bytes of objects received and sent.
        retried: Number of requests that failed and were repeated.
        seconds: Time spent in requests and between their repetitions, summed over
            threads.
    """

    requests: int = 0
    bytes: int = 0
    retried: int = 0
    seconds: float = 0.0

    def since(self, before: "Counts") -> "Counts":
        """Returns the difference from earlier counts."""
        return self.plus(Counts(*(-count for count in before)))  # type: ignore[arg-type]

    def plus(self, more: "Counts") -> "Counts":
        """Returns the sum of two counts."""
        return Counts(
            self.requests + more.requests,
            self.bytes + more.bytes,
            self.retried + more.retried,
            self.seconds + more.seconds,
        )


_total = Counts()
_lock = threading.Lock()


def snapshot() -> Counts:
    """Returns the counts of this process so far."""
    return _total


def add(counts: Counts) -> None:
    """Adds counts to those of this process."""
    global _total
    with _lock:
        _total = _total.plus(counts)


def _after_fork() -> None:
    global _lock, _total
    _lock, _total = threading.Lock(), Counts()


os.register_at_fork(after_in_child=_after_fork)
