"""Runs a peer in processes of its own, and tells what an epoch costs it.

An epoch's CPU time is that of a process that reads 1 + N epochs, less that of one that
reads 1, divided by N: imports, compilers, first epochs and what is read ahead in vain
are in both. It is user and system time of the whole tree of processes. A process's
time comes to whoever waits for it; so that nobody's is lost, this process adopts all
that outlive their parents (Linux's "subreaper") and waits for them too. The kernel then
counts each process once, workers that nobody waited for included, and nothing has to be
looked at while it runs.

Wall time is taken inside, around the N epochs after the first; so is CPU time, once
more, by looking: that goes into the JSON. The difference of two runs varies by as much
as their beginnings do: where the two disagree, read more epochs.
"""

import ctypes
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.reading.roster import Peer

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PATIENCE_SECONDS = 60


class PeerError(Exception):
    """A peer's process failed."""


class Cost(NamedTuple):
    """What some epochs cost.

    `cpu_seconds_inside` is the same as a look from inside tells: `clock.py`.
    """

    images: int
    cpu_seconds: float
    wall_seconds: float
    cpu_seconds_inside: float


def cost_of_epochs(peer: Peer, folder: Path, dtype: str, epochs: int) -> Cost:
    """Returns the cost of as many epochs, without all that comes before.

    Raises:
        PeerError: It failed.
    """
    _, less = run("read", peer, folder, dtype=dtype, epochs=1)
    told, more = run("read", peer, folder, dtype=dtype, epochs=1 + epochs)
    images, wall, inside = (
        sum(told[name][1:]) for name in ("images", "seconds", "cpu_seconds")
    )
    return Cost(images, more - less, wall, inside)


def run(task: str, peer: Peer, folder: Path, **arguments: Any) -> tuple[Any, float]:
    """Runs a task of `task.py`; returns what it tells, and its CPU seconds.

    Raises:
        PeerError: It failed.
    """
    log = folder / f"{task}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        command = [sys.executable, "-m", "tests.benchmarks.reading.task", task]
        command += [f"--peer={peer.name}", f"--folder={folder}", f"--result={result}"]
        command += [f"--arguments={json.dumps(arguments)}"]
        status, cpu_seconds = _run_to_the_end(command, log)
        if status or not result.exists():
            raise PeerError(_reason(log, status))
        return json.loads(result.read_text()), cpu_seconds


def _run_to_the_end(command: list[str], log: Path) -> tuple[int, float]:
    """Returns a command's exit status, and the CPU seconds of its whole tree."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [(os.POSIX_SPAWN_OPEN, fd, str(log), flags, 0o600) for fd in (1, 2)]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    pid = os.posix_spawn(command[0], command, env, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    orphans = _wait_for_orphans()
    used = [usage, *orphans]
    code = os.waitstatus_to_exitcode(status)
    return code, sum(each.ru_utime + each.ru_stime for each in used)


def _wait_for_orphans() -> list[resource.struct_rusage]:
    used: list[resource.struct_rusage] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:  # There are no more.
            return used
        if pid:
            used.append(usage)
        else:
            time.sleep(0.02)
    raise PeerError(f"processes of it still run {_PATIENCE_SECONDS} s after its end")


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "nothing"
    return f"ended with {status}, its last words in {log}: {last}"
