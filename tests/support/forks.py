"""Runs `diptych` over and over, each time in a process that may be killed at any step.

Beam takes two seconds to import; processes are forks of one that has done so. Here
nothing is imitated, and the process that is killed is gone, with all that it held.
"""

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fork_server import Fork, ForkServer
from patience import PATIENCE_SECONDS

# What publishing and tidying up rest on. A file is nowhere until it is renamed.
OPERATIONS = ("replace", "rename", "fsync", "unlink", "rmdir")


class Done(NamedTuple):
    """What became of a command.

    Attributes:
        status: As a shell has it; negative for the signal that ended it.
        out: What it said.
        err: What it complained of.
        steps: `operation path` of each step, in order; none of a killed command.
    """

    status: int
    out: str
    err: str
    steps: list[str]

    @property
    def error(self) -> str:
        """The one line that went to stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("diptych: error: ")
        return lines[0]


class Forks(ForkServer):
    """`with Forks() as forks: forks.run(["build", …], kill_at=7)`."""

    def __init__(self) -> None:
        super().__init__("beam_jobs.job.run")

    def run(self, args: list[str], *, kill_at: int | None = None) -> Done:
        """Runs a command, and kills it before its step number `kill_at`, from 0."""
        with tempfile.NamedTemporaryFile() as steps:
            at = -1 if kill_at is None else kill_at
            fork = self.start([__file__, at, steps.name, *args])
            out, err = fork.communicate()
            text = Path(steps.name).read_text()
            return Done(fork.wait(), out, err, text.splitlines())

    def start_command(self, args: list[str], **more: Any) -> Fork:
        """Starts a command in a session of its own; `more` is that of `start`."""
        return self.start(["-m", "beam_jobs", *args], **more)

    def kill_once(self, args: list[str], when: Callable[[], object]) -> None:
        """Starts a command, and kills its session once `when()`."""
        fork = self.start_command(args)
        wait_for(when, fork)
        fork.kill_session()
        assert fork.returncode == -signal.SIGKILL


def wait_for(
    when: Callable[[], object], fork: Fork | None = None, pause: float = 0.001
) -> None:
    """Waits for something that a process does before its end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not when():
        assert fork is None or fork.poll() is None, "the job ended too early"
        assert time.monotonic() < deadline
        time.sleep(pause)


def commits(output: Path) -> int:
    """Returns how many shards a job has finished."""
    folder = output / "_build/commits"
    return len(list(folder.iterdir())) if folder.exists() else 0


def distinct(steps: list[str]) -> list[int]:
    """Returns the places of steps that change what is there, the first of each kind.

    Ten lists of pairs are published one like the other.
    """
    places: dict[str, int] = {}
    for place, step in enumerate(steps):
        if not step.startswith("fsync") and "beam-pipeline-temp" not in step:
            places.setdefault(_kind(step), place)
    return list(places.values())


def _kind(step: str) -> str:
    return re.sub(r"[0-9a-f]{32}|\d+", "#", step)


def _run(kill_at: str, file: str, *args: str) -> None:
    """The life of a process."""
    from beam_jobs.__main__ import main

    status = 70
    try:
        steps = _watch(int(kill_at))
        status = main([*args])
        sys.stdout.flush()
        Path(file).write_text("\n".join(steps))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _watch(kill_at: int) -> list[str]:
    """Notes every step from here on, and ends this process before one of them."""
    steps: list[str] = []

    def watched(name: str) -> Any:
        operation = getattr(os, name)

        def step(*args: Any, **more: Any) -> Any:
            if len(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            what = args[-1] if name in ("replace", "rename") else args[0]
            if isinstance(what, int):
                what = os.readlink(f"/proc/self/fd/{what}")
            steps.append(f"{name} {os.fsdecode(what)}")
            return operation(*args, **more)

        return step

    for name in OPERATIONS:
        setattr(os, name, watched(name))
    return steps


if __name__ == "__main__":
    _run(*sys.argv[1:])
