"""Runs `diptych` over and over, each time in a process that may be killed at any step.

Beam takes more than a second to import. A process of its own does so once, and a fork
of it runs each command: here nothing is imitated, and the process that is killed is
gone, with all that it held.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self

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


class Forks:
    """`with Forks() as forks: forks.run(["build", …], kill_at=7)`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def run(self, args: list[str], *, kill_at: int | None = None) -> Done:
        """Runs a command, and kills it before its step number `kill_at`, from 0."""
        print(json.dumps({"args": args, "kill_at": kill_at}), file=self._process.stdin)
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))


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


def _serve() -> None:
    """Answers a line of JSON with a line of JSON."""
    import beam_jobs.job.run  # noqa: F401
    from beam_jobs.__main__ import main

    # Collecting garbage would copy the pages that a fork shares with this process.
    gc.freeze()

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            child = os.fork()
            if not child:
                _run(main, folder, **request)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said = {name: _text(folder / name) for name in ("out", "err")}
            steps = _text(folder / "steps").splitlines()
        print(json.dumps({"status": status, **said, "steps": steps}), file=answers)
        answers.flush()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _run(main: Any, folder: Path, args: list[str], kill_at: int | None) -> None:
    """The child's life."""
    status = 70
    try:
        for number, name in enumerate(("out", "err"), start=1):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        steps = _watch(kill_at)
        status = main(args)
        sys.stdout.flush()
        (folder / "steps").write_text("\n".join(steps))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _watch(kill_at: int | None) -> list[str]:
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
    _serve()
