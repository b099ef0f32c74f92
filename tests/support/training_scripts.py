"""Runs training scripts, each in a process of its own, and says how it ended.

Processes are forks of one that has imported TensorFlow; `run_program` starts a whole
process instead.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from fork_server import ForkServer, environment
from patience import PATIENCE_SECONDS, SOON_SECONDS

# What an imported TensorFlow says whatever TF_CPP_MIN_LOG_LEVEL is.
_NOISE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) is called"
    r"|I0000 .*\b(port|cudart_stub)\.cc:"
)


class Ended(NamedTuple):
    """How a script ended.

    Attributes:
        status: Exit status; negative for the signal that ended it.
        out: What it said.
        err: Lines that it complained of.
        seconds: Seconds from its last word, or from `act`, to its end.
        left: Command lines of processes of its session that were left at its end.
        pid: Its process id, which is that of its session.
    """

    status: int
    out: str
    err: list[str]
    seconds: float
    left: list[str]
    pid: int

    def check(
        self, status: int = 0, last_line: str = "", seconds: float = SOON_SECONDS
    ) -> None:
        """Checks that it ended by itself, in time, and left nothing."""
        err = _without_half_made(self.err)
        assert (self.status, err[-1:]) == (status, [last_line] if last_line else []), (
            self
        )
        # One traceback, with those of what was being handled.
        said = "\n".join(err)
        assert said.count("Traceback") <= 1 + said.count("During handling"), self
        assert self.left == [] and self.seconds < seconds, self


def _without_half_made(err: list[str]) -> list[str]:
    """Leaves out what libraries say if Ctrl-C falls where no code of ours runs.

    TensorFlow's `Executor.__del__` misses what an interrupted `__init__` did not set.
    In JAX's callback of the garbage collector, Ctrl-C is lost.
    """
    said = "\n".join(err)
    return _HALF_MADE.sub("", said).splitlines()


_HALF_MADE = re.compile(
    r"^Exception ignored in: <function (?:Executor\.__del__|_xla_gc_callback) .*\n"
    r"(?:(?!AttributeError|KeyboardInterrupt: ).*\n)*"
    r"(?:AttributeError: 'Executor' object has no attribute '_handle'"
    r"|KeyboardInterrupt: )\n?",
    re.MULTILINE,
)


class Scripts(ForkServer):
    """`with Scripts() as scripts: scripts.run("import reader; …")`."""

    def __init__(self) -> None:
        super().__init__("reader.loader.load")

    def run(
        self,
        code: str,
        *args: object,
        act: Callable[[int], None] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Ended:
        """Runs a script to its end.

        Args:
            code: Python code.
            *args: Arguments in its `sys.argv`.
            act: Called with its process id when it prints "ready".
            patience: Seconds after which it is killed, and `TimeoutError` is raised.
        """
        with _Outputs() as outputs, tempfile.TemporaryDirectory() as folder:
            # A file, from which AutoGraph takes the source of functions.
            script = Path(folder, "script.py")
            script.write_text(code)
            fork = self.start(
                [script, *args], env=environment(), outputs=outputs.theirs
            )
            try:
                outputs.follow(fork.pid, act, patience)
            finally:
                status = fork.wait()
            return outputs.ended(status, fork.pid)


def run_program(
    command: Sequence[str],
    *,
    act: Callable[[int], None] | None = None,
    patience: float = PATIENCE_SECONDS,
    **more: Any,
) -> Ended:
    """Runs a command to its end, as the leader of a session."""
    env = {**environment(), **more.pop("env", {})}
    with _Outputs() as outputs:
        process = subprocess.Popen(
            command,
            stdout=outputs.theirs[0],
            stderr=outputs.theirs[1],
            start_new_session=True,
            env=env,
            **more,
        )
        outputs.follow(process.pid, act, patience)
        return outputs.ended(process.wait(), process.pid)


def session(pid: int) -> list[str]:
    """Returns the command lines of a session's processes; those of zombies are "Z"."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, sid = (
                (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            )
            words = (folder / "cmdline").read_text().replace("\0", " ").strip()
            if int(sid) == pid:
                found.append("Z" if state == "Z" else words)
    return found


def seconds_until_gone(pid: int, most: float = PATIENCE_SECONDS) -> float:
    """Waits until no worker of a session lives."""
    begin = time.monotonic()
    while left := [
        words for words in session(pid) if "reader.pixel_workers.worker" in words
    ]:
        assert time.monotonic() - begin < most, left
        time.sleep(0.01)
    return time.monotonic() - begin


class _Outputs:
    """Standard output and error of a process."""

    def __enter__(self) -> Self:
        pipes = [os.pipe(), os.pipe()]
        self._ours = [ours for ours, _ in pipes]
        self.theirs = [theirs for _, theirs in pipes]
        self._said = {ours: b"" for ours in self._ours}
        return self

    def __exit__(self, *exc: object) -> None:
        for fd in (*self._ours, *self.theirs):
            os.close(fd)

    def follow(
        self, pid: int, act: Callable[[int], None] | None, patience: float
    ) -> None:
        """Reads until the process has ended."""
        self._at = begin = time.monotonic()
        process = os.pidfd_open(pid)
        poll = select.poll()
        for fd in (process, *self._ours):
            poll.register(fd, select.POLLIN)
        try:
            while True:
                fds = [fd for fd, _ in poll.poll(1000)]
                for fd in set(fds) & set(self._ours):
                    self._said[fd] += os.read(fd, 1 << 16)
                    if fd == self._ours[0]:
                        self._at = time.monotonic()
                if act is not None and b"ready\n" in self._said[self._ours[0]]:
                    act(pid)
                    act, self._at = None, time.monotonic()
                if process in fds and not set(fds) & set(self._ours):
                    return
                if time.monotonic() - begin > patience:
                    os.killpg(pid, signal.SIGKILL)
                    raise TimeoutError(f"no end of {pid}: {self._said}")
        finally:
            self._end = time.monotonic()
            os.close(process)

    def ended(self, status: int, pid: int) -> Ended:
        out, err = (self._said[fd].decode(errors="replace") for fd in self._ours)
        lines = [line for line in err.splitlines() if not _NOISE.match(line)]
        return Ended(status, out, lines, self._end - self._at, session(pid), pid)
