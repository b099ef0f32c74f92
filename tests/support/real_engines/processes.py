"""Processes of engines: each in a group of its own, with a log, and gone at the end."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from patience import PATIENCE_SECONDS

_POLL_SECONDS = 0.05
_TAIL_LINES = 40
_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    true: Callable[[], bool],
    what: Callable[[], str],
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Polls until something is true; fails after a while, and says `what()`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(_POLL_SECONDS)


class Server:
    """A process that serves until it is stopped.

    Attributes:
        name: What it is called in messages.
        pid: Of the process, and of its group.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts it; the log takes what it prints."""
        self.name = name
        self._log = log
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [*_tied_to_us(), *map(str, command)],
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits for a line in the log; returns what the pattern matched."""
        self.wait_until(lambda: bool(self._find(pattern)), f"no {pattern!r}")
        match = self._find(pattern)
        assert match is not None
        return match

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Waits until it is ready; fails with the end of its log."""

        def alive_and_ready() -> bool:
            ended = self._process.poll()
            assert ended is None, f"{self.name} ended with {ended}:\n{self.tail()}"
            return ready()

        wait_until(alive_and_ready, lambda: f"{self.name}: {what}:\n{self.tail()}")

    def tail(self) -> str:
        """Returns the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def children(self) -> list[int]:
        """Returns the process ids of its children."""
        pids: list[int] = []
        for thread in Path(f"/proc/{self.pid}/task").glob("*/children"):
            # Threads come and go.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pids += map(int, thread.read_text().split())
        return pids

    def stop(self) -> None:
        """Kills it and all that it started: nothing of it is of use to anyone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _find(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self._log.read_text(errors="replace"))


@contextlib.contextmanager
def serving(
    name: str,
    command: Sequence[object],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Starts a server, and stops it whatever happens."""
    server = Server(name, command, log, environment)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def worker_pool(log: Path, address: str = f"{_LOOPBACK}:0") -> Iterator[Server]:
    """Starts Beam's pool of worker processes on an address; its log tells the port."""
    script = Path(__file__).with_name("worker_pool.py")
    # It starts whatever `python` is first on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, script, address]
    with serving("a worker pool", command, log, {"PATH": path}) as server:
        server.wait_for(r"serving on port \d+")
        yield server


def port_of(pool: Server) -> int:
    """Returns the port of a worker pool."""
    return int(pool.wait_for(r"serving on port (\d+)")[1])


def _tied_to_us() -> list[str]:
    """Returns what makes the kernel end a process when pytest itself is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL", "--"] if setpriv else []
