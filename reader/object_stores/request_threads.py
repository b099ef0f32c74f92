"""Threads that make requests, which neither Ctrl-C nor the end of Python waits for."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

_In = TypeVar("_In")
_T = TypeVar("_T")
_MOST_THREADS = 64


class RequestThreads:
    """Threads that are started when they are needed, and end with the process.

    Python waits for the threads of `ThreadPoolExecutor` when it ends, and so for the
    timeout of an answer that does not come.
    """

    def __init__(self) -> None:
        """Starts no thread."""
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._started = 0

    def submit(self, function: Callable[..., _T], *args: Any) -> "Future[_T]":
        """Has a thread call a function."""
        future: Future[_T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(run)
        if not self._idle.acquire(blocking=False):
            self._start()
        return future

    def _start(self) -> None:
        with self._lock:
            if self._started == _MOST_THREADS:
                return
            self._started += 1
        threading.Thread(target=self._work, name="requests", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._tasks.get()()
            self._idle.release()


_threads = RequestThreads()
# Apart from requests: all threads of those may wait for a store that does not answer.
_waiting = RequestThreads()


def submit(function: Callable[..., _T], *args: Any) -> "Future[_T]":
    """Has one of the threads of this process call a function."""
    return _threads.submit(function, *args)


def call(function: Callable[..., _T], *args: Any) -> _T:
    """Calls a function that waits for an answer; Ctrl-C ends the wait.

    Python handles a signal in its main thread, and only when a call into Rust returns.
    """
    return _call(_threads, function, *args)


def wait_for(function: Callable[[], _T]) -> _T:
    """Calls a function that waits for requests made elsewhere; Ctrl-C ends the wait."""
    return _call(_waiting, function)


def _call(threads: RequestThreads, function: Callable[..., _T], *args: Any) -> _T:
    if threading.current_thread() is not threading.main_thread():
        return function(*args)
    return threads.submit(function, *args).result()


def call_all(function: Callable[[_In], _T], items: Sequence[_In]) -> list[_T]:
    """Calls a function for each item at the same time, and returns the results.

    If a call fails, those that have not begun do not begin, and its error is raised. A
    thread other than the main one makes calls itself that no thread is free for, so
    that threads of these may call this, too.
    """
    if len(items) == 1:
        return [call(function, items[0])]
    futures = [submit(function, item) for item in items]
    may_help = threading.current_thread() is not threading.main_thread()
    try:
        return [
            function(item) if may_help and future.cancel() else future.result()
            for future, item in zip(futures, items, strict=True)
        ]
    finally:
        for future in futures:
            future.cancel()


def _after_fork() -> None:
    global _threads, _waiting  # The child has none of the parent's.
    _threads, _waiting = RequestThreads(), RequestThreads()


os.register_at_fork(after_in_child=_after_fork)
