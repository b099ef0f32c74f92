"""Detects when an epoch was read, though its batches are read at the same time."""

import threading
from collections.abc import Callable


class Laps:
    """Counts the unread records of laps. A lap is an epoch of an iterator.

    Threads may share an instance.
    """

    def __init__(self, at_end: Callable[[int, int], None]) -> None:
        """Initializes the counts.

        Args:
            at_end: Function called with the epoch and the lap when a lap was read.
        """
        self._at_end = at_end
        self._lock = threading.Lock()
        self._unread: dict[int, int] = {}
        self._epochs: dict[int, int] = {}

    def hand_out(self, lap: int, num: int) -> None:
        """Counts records that are going to be read.

        Args:
            lap: Number of the lap, different for all laps.
            num: Number of records.
        """
        with self._lock:
            self._unread[lap] = self._unread.get(lap, 0) + num

    def end(self, lap: int, epoch: int) -> None:
        """States that a lap has no more records than were handed out.

        Args:
            lap: Number of the lap.
            epoch: Its epoch.
        """
        with self._lock:
            self._epochs[lap] = epoch
        self.note_read(lap, 0)

    def note_read(self, lap: int, num: int) -> None:
        """Counts records that were read.

        Args:
            lap: Number of the lap.
            num: Number of records.
        """
        with self._lock:
            self._unread[lap] -= num
            if self._unread[lap] or lap not in self._epochs:
                return
            del self._unread[lap]
            epoch = self._epochs.pop(lap)
        self._at_end(epoch, lap)
