"""Repeats requests that failed for a while, with backoff, and counts them."""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from reader.contract.errors import UsageError
from reader.object_stores import counts
from reader.object_stores.counts import Counts
from reader.object_stores.failures import Failure, failure_of

_T = TypeVar("_T")

# Time after which a failed request is not repeated, but for the fewest attempts: one
# may take as long.
RETRY_SECONDS = "DIPTYCH_RETRY_SECONDS"
_DEFAULT_SECONDS = 60.0
_FEWEST_ATTEMPTS = 3
# A mistyped host, or no network, is reported soon; a host that has answered before
# may be restarting.
_CONNECT_SECONDS = 5.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 8.0


class Retries:
    """Runs the requests to one host. Threads may share it."""

    def __init__(
        self, failure_of: Callable[[Exception, str], Failure] = failure_of
    ) -> None:
        """Starts with a host that has not answered yet.

        Args:
            failure_of: Function that returns what a failed request to an address means.
        """
        self._failure_of = failure_of
        self._answered = False

    def run(
        self,
        request: Callable[[], _T],
        address: str,
        size: Callable[[_T], int],
        part: str = "",
    ) -> _T:
        """Returns the result of a request, repeated while it fails for a while.

        Args:
            request: Function that makes the request.
            address: Address of the object, for the message.
            size: Function that returns the bytes of a result, to be counted.
            part: Part of the object, for the message.

        Raises:
            OSError: The request failed for good, or for too long.
        """
        begun, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            try:
                result = request()
            except Exception as error:
                failure = self._failure_of(error, address)
                self._answered |= failure.connected
                spent = time.monotonic() - begun
                pause = _pause(attempts)
                late = spent + pause > self._seconds(failure)
                if _is_final(failure, attempts, late):
                    counts.add(Counts(attempts, 0, attempts - 1, spent))
                    raise _final(failure, attempts, spent, part) from error
                time.sleep(pause)
                continue
            self._answered = True
            spent = time.monotonic() - begun
            counts.add(Counts(attempts, size(result), attempts - 1, spent))
            return result

    def _seconds(self, failure: Failure) -> float:
        stated = os.environ.get(RETRY_SECONDS, str(_DEFAULT_SECONDS))
        try:
            seconds = float(stated)
        except ValueError:
            raise UsageError(
                f"{RETRY_SECONDS} must be a number of seconds, got {stated!r}"
            ) from None
        if failure.connected or self._answered:
            return seconds
        return min(seconds, _CONNECT_SECONDS)


def _pause(attempts: int) -> float:
    """Returns the seconds before the next attempt: exponential, with jitter."""
    longest = min(_FIRST_PAUSE * 2.0 ** (attempts - 1), _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)


def _is_final(failure: Failure, attempts: int, late: bool) -> bool:
    if not failure.transient:
        return True
    is_ending = not threading.main_thread().is_alive()  # Python waits for this thread.
    return (late and attempts >= _FEWEST_ATTEMPTS) or is_ending


def _final(failure: Failure, attempts: int, spent: float, part: str) -> OSError:
    error = failure.error
    if not failure.transient:
        return error
    where = f" ({part})" if part else ""
    message = f"{attempts} attempts in {spent:.1f} s failed{where}, at last: "
    return type(error)(error.errno, message + (error.strerror or ""), error.filename)
