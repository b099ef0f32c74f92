"""Bytes that the bounded caches of this process had, of those that were read."""

import os
import threading
from typing import NamedTuple


class Hits(NamedTuple):
    """Bytes that were read.

    Attributes:
        cached: Number of bytes that were in a cache.
        total: Number of bytes that were requested from a cache.
    """

    cached: int = 0
    total: int = 0

    def share_since(self, before: "Hits") -> float | None:
        """Returns the cached share of the bytes since then; None if there were none."""
        total = self.total - before.total
        return (self.cached - before.cached) / total if total else None


_hits = Hits()
_lock = threading.Lock()


def snapshot() -> Hits:
    """Returns the bytes of this process so far."""
    return _hits


def add(cached: int, total: int) -> None:
    """Adds bytes that were read."""
    global _hits
    with _lock:
        _hits = Hits(_hits.cached + cached, _hits.total + total)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
