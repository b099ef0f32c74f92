"""Threads of this process that wait for object stores."""

import atexit
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

# Each waits for a few requests. At 50 ms for a request of 350 kB, these are 1.3 GB/s.
_MOST_THREADS = 64
# Bytes that are requested and not handed on yet, which are held twice.
_MOST_BYTES = 64 << 20
_IDLE_SECONDS = 5.0
_END_SECONDS = 3.0


class Task(Protocol):
    """Something to request.

    Attributes:
        num_bytes: Number of bytes requested.
        is_wanted: Whether its result is awaited, or will be. Others are not run.
    """

    @property
    def num_bytes(self) -> int: ...  # noqa: D102
    @property
    def is_wanted(self) -> bool: ...  # noqa: D102

    def run(self) -> None:
        """Requests it; raises nothing."""


class Threads:
    """Threads that run tasks in the order given, as many at a time as memory allows.

    They are daemons: Python does not wait for requests when it ends, except for those
    that are in the middle of something. A task that is no longer wanted, but waits for
    a store that does not answer, takes no room from others.

    Attributes:
        ended: Whether Python is ending, and no task is run any more.
    """

    def __init__(self) -> None:
        """Starts no thread yet."""
        self.ended = False
        self._changed = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._running: dict[int, Task] = {}
        self._num_threads = self._num_idle = 0

    def run(self, tasks: Sequence[Task] = ()) -> None:
        """Has tasks run after those that were given before.

        Without tasks, uses the room of those that are no longer wanted.
        """
        with self._changed:
            self._tasks += tasks
            self._changed.notify_all()
            most = _MOST_THREADS + len(self._running) - len(self._wanted())
            new = min(len(self._tasks) - self._num_idle, most - self._num_threads)
            for _ in range(new):
                threading.Thread(target=self._work, daemon=True).start()
                self._num_threads += 1

    def _wanted(self) -> list[Task]:
        return [task for task in self._running.values() if task.is_wanted]

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.run()
            finally:
                with self._changed:
                    del self._running[id(task)]
                    self._changed.notify()
            del task  # It would keep its iterator alive.

    def _next(self) -> Task | None:
        with self._changed:
            self._num_idle += 1
            try:
                while not self._has_room():
                    if self.ended or not self._changed.wait(_IDLE_SECONDS):
                        self._num_threads -= 1
                        return None
                task = self._tasks.popleft()
                self._running[id(task)] = task
                return task
            finally:
                self._num_idle -= 1

    def _has_room(self) -> bool:
        while self._tasks and not self._tasks[0].is_wanted:
            self._tasks.popleft()
        if self.ended or not self._tasks:
            return False
        num_bytes = sum(task.num_bytes for task in self._wanted())
        return not num_bytes or num_bytes + self._tasks[0].num_bytes <= _MOST_BYTES

    def end(self) -> None:
        """Runs no further task, and waits a while for those that run.

        A thread that comes back from a request when Python has ended would end the
        process in its own way.
        """
        with self._changed:
            self.ended = True
            self._tasks.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + _END_SECONDS
        while self._num_threads and time.monotonic() < deadline:
            time.sleep(0.002)


class _OfProcess:
    """The threads of this process: a forked child has none of its parent's."""

    def __init__(self) -> None:
        self.threads = Threads()


_of_process = _OfProcess()
os.register_at_fork(after_in_child=_of_process.__init__)  # type: ignore[misc]


def threads() -> Threads:
    """Returns the threads of this process."""
    return _of_process.threads


@atexit.register
def _end() -> None:
    with contextlib.suppress(Exception):
        _of_process.threads.end()
