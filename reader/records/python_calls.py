"""Calls of Python by TensorFlow's threads, and what becomes of them at Python's end.

When Python ends, a thread that is in Python, or waits for the GIL, is stopped where it
is. TensorFlow then waits for that thread forever, or aborts. So before Python ends,
further calls fail at once, and those that have begun are waited for.
"""

import atexit
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf

T = TypeVar("T")

_MOST_SECONDS = 3
_SETTLE_SECONDS = 0.005
_SETTLE_TIMES = 4


class Gone(RuntimeError):
    """Raised by calls on behalf of a Dataset that no longer exists."""

    def __init__(self) -> None:
        """Creates the error, with what to do."""
        super().__init__(
            "the Dataset that reader.load returned no longer exists: keep it as long "
            "as functions that use it"
        )


def weakly(value: T) -> Callable[[], T]:
    """Returns a function that returns a value as long as others refer to it.

    TensorFlow keeps functions that it calls until Python ends. Functions that get what
    they need in this way keep nothing else, such as the index of a dataset.

    Raises (the function):
        Gone: Nothing else refers to the value.
    """
    reference = weakref.ref(value)

    def get() -> T:
        found = reference()
        if found is None:
            raise Gone
        return found

    return get


class _Calls:
    """Calls of this process.

    Attributes:
        ending: Whether Python is ending.
        num: Number of calls so far.
        threads: Threads that made calls.
    """

    def __init__(self) -> None:
        self.ending = False
        self.num = 0
        self.threads: set[int] = set()

    def begin(self) -> bool:
        """Notes a call of the current thread; returns whether it may proceed."""
        self.num += 1
        self.threads.add(threading.get_ident())
        return not self.ending

    def end(self) -> None:
        """Waits until no thread is in a call, and no call comes any more."""
        self.ending = True
        self.threads.discard(threading.get_ident())
        deadline, settled, num = time.monotonic() + _MOST_SECONDS, 0, -1
        while settled < _SETTLE_TIMES and time.monotonic() < deadline:
            time.sleep(_SETTLE_SECONDS)  # Lets other threads have the GIL.
            # Between calls, a thread of TensorFlow has no frame.
            quiet = self.threads.isdisjoint(sys._current_frames()) and num == self.num
            settled, num = settled + 1 if quiet else 0, self.num


_calls = _Calls()
# Finalizers run after `end`: they may end what a call waits for. The first finalizer of
# a process has Python run all of them, in reverse to the order of registration.
weakref.finalize(_calls, int)
atexit.register(_calls.end)


def ending() -> bool:
    """Returns whether Python is ending and calls fail."""
    return _calls.ending


def call_python(
    function: Callable[..., Any], inputs: Sequence[Any], dtypes: Any, **more: Any
) -> Any:
    """Returns the tensors that a Python function makes: `tf.numpy_function`.

    Args:
        function: Function of NumPy arrays.
        inputs: Its arguments.
        dtypes: Dtypes of its results.
        **more: Further arguments of `tf.numpy_function`.
    """

    def call(*args: Any) -> Any:
        if not _calls.begin():
            raise StopIteration  # TensorFlow logs all other exceptions.
        return function(*args)

    return tf.numpy_function(call, inputs, dtypes, **more)


def generate_python(values: Iterator[T]) -> Iterator[T]:
    """Yields values to `Dataset.from_generator`, until Python ends."""
    _calls.begin()
    for value in values:
        yield value
        if not _calls.begin():
            return
