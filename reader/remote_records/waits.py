"""Time that batches of this process have waited for object stores."""

import threading


class _Waits:
    """Sums times over all threads.

    Attributes:
        seconds: Time that batches have waited while no other batch could be made.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """Adds a time, in seconds."""
        with self._lock:
            self.seconds += seconds


waits = _Waits()
