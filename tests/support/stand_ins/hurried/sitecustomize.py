"""Hurries a process that waits: Beam asks Dataflow for news each five seconds only.

Of no use to a worker, which does not wait, and is not started with this.
"""

import time

_LONGEST_SECONDS = 0.25
_sleep = time.sleep


def sleep(seconds: float) -> None:
    """Sleeps, but never for long."""
    _sleep(min(seconds, _LONGEST_SECONDS))


time.sleep = sleep
