"""Starts pixel workers, hands them parts of batches, and notices when they end."""

import contextlib
import os
import pickle
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reader.contract.host import exit_description, module_path
from reader.pixel_workers.parts import Makers, Part
from reader.pixel_workers.shared_memory import SharedMemory
from reader.pixels.errors import PixelWorkerError

# Batches that are made at the same time; more wait for one of these.
NUM_CHANNELS = 16
_GRACE_SECONDS = 3
# Workers that are stopped for twice as long are an error: calls would wait for them.
_CHECK_SECONDS = 0.8
# The folder with Diptych comes last on the path, since it may be a working folder.
_DIPTYCH = str(Path(__file__).resolve().parents[2])

CLOSED = "the pixel workers are closed"


class Making(NamedTuple):
    """A batch that workers are making.

    Attributes:
        channel: Index of the channel on which finished parts are counted.
        num_parts: Number of parts of the batch.
    """

    channel: int
    num_parts: int


class Processes:
    """Worker processes, which take parts of batches from one socket.

    Whichever worker is free takes the next part. A caller waits on a channel of its own
    until as many bytes have come as its batch has parts: one wait, and so one wait for
    the GIL, for a batch. A thread waits for the end of each worker.
    """

    def __init__(self, makers: Makers, num_workers: int, memory: SharedMemory) -> None:
        """Starts the workers.

        Args:
            makers: What makes the rows, which is pickled.
            num_workers: Number of processes.
            memory: Shared memory of which nothing is reserved yet.

        Raises:
            OSError: A process cannot be started.
        """
        self._ended = threading.Event()
        self._failure = CLOSED
        self._status: int | None = None
        self._waiting: set[int] = set()
        self._children: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        pickled = pickle.dumps(makers)
        offset = memory.reserve(len(pickled))
        memory.bytes_at(offset, len(pickled))[:] = pickled
        # Each worker writes here the CPU time of making images, in seconds.
        used_offset = memory.reserve(8 * num_workers)
        self._used = memory.array(used_offset, (num_workers,), "float64")
        self._tasks, tasks = _socket_pair()
        pairs = [_socket_pair() for _ in range(NUM_CHANNELS)]
        self._channels = [ours for ours, _ in pairs]
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for channel in range(NUM_CHANNELS):
            self._free.put(channel)
        inherited = [tasks, *(theirs for _, theirs in pairs)]
        fds = [memory.fd, *(end.fileno() for end in inherited)]
        try:
            for i in range(num_workers):
                args = [os.getpid(), memory.fd, len(pickled), used_offset + 8 * i]
                self._children.append(_start([*args, *fds[1:]], fds))
        finally:
            for end in inherited:
                end.close()
            _running.add(self)
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
            if len(self._children) < num_workers:
                self.stop()

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the workers have used to make images."""
        return float(self._used.sum())

    def start(self, parts: Sequence[Part], *, wait: bool) -> Making | None:
        """Has the workers make all parts of a batch; `finish` waits for them.

        Args:
            parts: All parts of the batch.
            wait: Whether to wait if `NUM_CHANNELS` batches were started and not
                finished. Otherwise None is returned, and nothing is made.

        Raises:
            PixelWorkerError: A worker has ended, or `stop` was called.
        """
        try:
            channel = self._free.get(block=wait)
        except queue.Empty:
            return None
        with self._using(channel):
            self._check()
            message = b"".join(part._replace(channel=channel).pack() for part in parts)
            with contextlib.suppress(OSError):  # There is no worker.
                self._tasks.sendall(message)
        return Making(channel, len(parts))

    def finish(self, making: Making) -> None:
        """Waits until all parts of a batch are made.

        Raises:
            PixelWorkerError: A worker has ended, or `stop` was called.
        """
        channel, left = making
        with self._using(channel):
            with contextlib.suppress(OSError):  # There is no worker.
                # Each call lets go of the GIL, which a busy thread returns after 5 ms.
                while left and (
                    done := self._channels[channel].recv(left, socket.MSG_WAITALL)
                ):
                    left -= len(done)
            if left:
                self._ended.wait()
                self._check()
        self._free.put(channel)

    @contextlib.contextmanager
    def _using(self, channel: int) -> Iterator[None]:
        """Keeps the sockets open, and gives the channel back after an error."""
        self._waiting.add(channel)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, or the end of a thread.
                # Bytes for this batch would still come on its channel.
                self._end(CLOSED)
            self._free.put(channel)
            raise
        finally:
            self._waiting.discard(channel)

    def _check(self) -> None:
        if self._ended.is_set():
            raise PixelWorkerError(self._failure, self._status)

    @property
    def ended(self) -> bool:
        """Whether the workers have ended, or will soon."""
        return self._ended.is_set()

    def stop(self) -> None:
        """Ends the workers, and the calls of `finish` that wait for them.

        Waits for nothing: the garbage collector may call this in any thread, at any
        moment.
        """
        self._end(CLOSED)

    def wait(self) -> None:
        """Waits until all workers have ended, after `stop`."""
        # Python would keep an object of each of TensorFlow's threads that calls `join`.
        deadline = time.monotonic() + 3 * _GRACE_SECONDS
        while (
            threading.get_ident() != self._watcher.ident
            and self._watcher.is_alive()
            and time.monotonic() < deadline
        ):
            time.sleep(0.001)

    def forget(self) -> None:
        """Closes a forked copy, without a word to the workers of the parent."""
        _running.discard(self)
        self._close()
        for process, _ in self._children:
            process.returncode = 0

    def _close(self) -> None:
        lifelines = [lifeline for _, lifeline in self._children]
        for end in (self._tasks, *self._channels, *lifelines):
            end.close()

    def _end(self, failure: str, status: int | None = None) -> None:
        if not self._ended.is_set():
            self._failure, self._status = failure, status
            self._ended.set()
        # Sockets are shut down and not closed: a thread may wait for one.
        for end in (*self._channels, self._tasks):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for _, lifeline in self._children:
            with contextlib.suppress(OSError):
                lifeline.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        """Waits for the end of all workers; the first that ends by itself ends all."""
        alive = {lifeline.fileno(): process for process, lifeline in self._children}
        poll = select.poll()
        for fd in alive:
            poll.register(fd, select.POLLIN)
        stopped: set[int] = set()
        while alive:
            ended = [fd for fd, _ in poll.poll(_CHECK_SECONDS * 1000)]
            if not ended:
                before = stopped
                stopped = {fd for fd, process in alive.items() if _is_stopped(process)}
                if stopped & before:
                    self._end(
                        "a pixel worker was stopped by a signal and not continued"
                    )
                if self._ended.is_set():
                    for process in alive.values():
                        process.kill()
            for fd in ended:
                poll.unregister(fd)
                status = _reap(alive.pop(fd))
                self._end(f"a pixel worker {exit_description(status)}", status)
        # When Python ends, a thread that is not back from a call is stopped in the
        # middle of it, and TensorFlow's threads then abort the process.
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.002)
        if not self._waiting:
            self._close()
        _running.discard(self)


# Those with workers that have not ended yet.
_running: set[Processes] = set()


def _stop_all() -> None:
    for processes in list(_running):
        processes.stop()
        processes.wait()


# At the end of Python only: threads that were ending processes do not get to it.
weakref.finalize(Processes, _stop_all)


def _is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Returns whether a process is stopped, as by Ctrl-Z, where that can be asked."""
    if not hasattr(os, "waitid"):
        return False
    options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, options) is not None
    return False


def _reap(process: subprocess.Popen[bytes]) -> int:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_GRACE_SECONDS)
    process.kill()
    return process.wait()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Returns connected sockets that wait, whatever `socket.setdefaulttimeout` says.

    With a timeout, both ends would be non-blocking in the workers as well.
    """
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(True)
    return pair


def _start(
    args: Sequence[int], fds: Sequence[int]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Starts a worker; returns it with a socket that closes when the worker ends."""
    ours, theirs = _socket_pair()
    # The worker inherits the blocked signal, so Ctrl-C in a terminal reaches only this
    # process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "reader.pixel_workers.worker",
                *map(str, args),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*module_path(), _DIPTYCH]),
                # A worker is one thread; there are enough workers for the cores.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "OPENCV_FOR_THREADS_NUM": "1",
            },
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            pass_fds=fds,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours
