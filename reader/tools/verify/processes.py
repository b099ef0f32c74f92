"""Processes that share the shards to check."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker

from reader.contract.errors import BuildError
from reader.tools.verify.shard_check import ShardReport, ShardTask, check_shard


@contextlib.contextmanager
def checked_shards(
    tasks: Sequence[ShardTask], workers: int
) -> Iterator[Iterator[ShardReport]]:
    """Yields an iterator over the reports of the shards, in order."""
    workers = min(workers, len(tasks))
    if workers < 2:
        yield map(check_shard, tasks)
        return
    # Python starts this process with the first worker, and then unblocks Ctrl-C.
    with _safe_path():
        resource_tracker.ensure_running()
    # Spawn, do not fork: TensorFlow may be loaded in this process and have threads.
    with _death_explained(), contextlib.ExitStack() as stack:
        with _defer_ctrl_c(), _safe_path():
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _exit_quietly)
            stack.callback(pool.shutdown, cancel_futures=True)
            reports = pool.map(check_shard, tasks)
        yield reports


@contextlib.contextmanager
def _death_explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise BuildError(
            "a process that checked shards died, possibly out of memory: check with "
            "fewer workers. A script that calls verify with several workers does so "
            'below `if __name__ == "__main__":`'
        ) from error


@contextlib.contextmanager
def _defer_ctrl_c() -> Iterator[None]:
    """Defers Ctrl-C, also in processes that are started inside the block.

    Child processes inherit the blocked signal. Blocking is not enough in this process:
    the kernel may deliver the signal to another thread, such as numpy's, and Python
    then runs the handler in the main thread. So the handler is replaced as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Lets processes that are started inside the block ignore the working folder.

    A file there may have the name of a module that a process imports at its start. The
    process then gets the module path of this one.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _exit_quietly() -> None:
    """Makes Ctrl-C end a worker without a traceback: the parent prints one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
