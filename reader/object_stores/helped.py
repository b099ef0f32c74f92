"""A store whose requests another process makes, for forked processes: see `forked`.

Each request is a message (number, method, arguments), and each answer is a message
(number, result, error, counts). Names are requested page by page, so that a list does
not fill the memory where it is read slowly.
"""

import contextlib
import errno
import itertools
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

from reader.contract.host import exit_description, module_path
from reader.object_stores import counts
from reader.object_stores.protocol import Listed, Status
from reader.object_stores.vendors.options import StoreOptions

_Answers = queue.SimpleQueue[tuple[Any, Exception | None]]

_DIPTYCH = str(Path(__file__).resolve().parents[2])


class HelpedStore:
    """An `ObjectStore` with a helper process. Threads may share it.

    Attributes:
        has_ended: Whether the helper has ended, so that another one is needed.
    """

    def __init__(self, scheme: str, options: StoreOptions) -> None:
        """Starts the helper."""
        self.has_ended = False
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[int, _Answers] = {}
        self._ended_scans: list[int] = []
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _start(theirs)
        self._connection.send((scheme, options))
        threading.Thread(target=self._receive, daemon=True).start()

    def stat(self, path: str) -> Status:
        """Returns the size and version of an object."""
        status: Status = self._ask("stat", path)
        return status

    def read(
        self, path: str, offset: int = 0, size: int = -1, version: int | None = None
    ) -> bytes:
        """Returns the bytes of an object."""
        data: bytes = self._ask("read", path, offset, size, version)
        return data

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Returns byte ranges of an object."""
        # NumPy's integers may be given, and the helper does without NumPy.
        numbers = [list(map(int, places)) for places in (begins, ends)]
        found = self._ask("read_ranges", path, *numbers)
        return [memoryview(data) for data in found]

    def scan(self, folder: str, *, deep: bool, after: str = "") -> Iterator[Listed]:
        """Yields the entries of a folder."""
        ended, self._ended_scans = self._ended_scans, []
        number = self._ask("begin_scan", folder, deep, after, ended)
        try:
            while page := self._ask("next_page", number):
                yield from page
        finally:
            # The next scan says so: the garbage collector, which may end this one in
            # any thread and in a forked child, must not wait for an answer.
            self._ended_scans.append(number)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file, which is copied for the helper."""
        file.seek(0)
        with tempfile.NamedTemporaryFile(prefix="diptych-") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            self._ask("put", path, copy.name)

    def put_new(self, path: str, data: bytes) -> bool:
        """Creates an object unless it exists."""
        created: bool = self._ask("put_new", path, data)
        return created

    def delete(self, path: str) -> None:
        """Deletes an object."""
        self._ask("delete", path)

    def leave(self) -> None:
        """Closes the connection in a forked child: the helper is its parent's."""
        self._connection.close()

    def _ask(self, method: str, *args: Any) -> Any:
        """Returns the answer to a request."""
        answers: _Answers = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = answers
            if self.has_ended:
                answers.put((None, self._ended()))
            with contextlib.suppress(OSError):  # It has ended: `_receive` reports that.
                self._connection.send((number, method, args))
        try:
            result, error = answers.get()
        finally:
            del self._waiting[number]
        if error is not None:
            raise error
        return result

    def _receive(self) -> None:
        """Hands answers to the threads that wait for them, until the helper ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, result, error, made = self._connection.recv()
                counts.add(made)
                if number in self._waiting:
                    self._waiting[number].put((result, error))
        self._process.wait()
        with self._lock:
            self.has_ended = True
            for answers in list(self._waiting.values()):
                answers.put((None, self._ended()))

    def _ended(self) -> OSError:
        how = exit_description(self._process.returncode)
        return OSError(errno.EIO, f"The process that makes requests {how}")


def _start(connection: Connection) -> "subprocess.Popen[bytes]":
    # The helper inherits the blocked signal, so Ctrl-C in a terminal does not reach it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    descriptor = connection.fileno()
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "reader.object_stores.helper",
                str(descriptor),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*module_path(), _DIPTYCH]),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
