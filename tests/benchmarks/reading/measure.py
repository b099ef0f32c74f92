"""Runs a peer in a process of its own, and tells what an epoch costs it.

Both times are taken inside, around the epochs after a first one: wall time, and user
and system time of the whole tree of processes (`clock.py`). So imports, compilers and
first epochs cost nothing. Against the difference of two processes, one of which read
more epochs, with all their children waited for, it came to within 2 % in most rounds.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.reading.roster import Peer


class PeerError(Exception):
    """A peer's process failed."""


class Cost(NamedTuple):
    """What some epochs cost."""

    images: int
    cpu_seconds: float
    wall_seconds: float


def cost_of_epochs(peer: Peer, folder: Path, dtype: str, epochs: int) -> Cost:
    """Returns the cost of as many epochs, without all that comes before.

    Raises:
        PeerError: It failed.
    """
    told = run("read", peer, folder, dtype=dtype, epochs=1 + epochs)
    names = ("images", "cpu_seconds", "seconds")
    return Cost(*(sum(told[name][1:]) for name in names))


def run(task: str, peer: Peer, folder: Path, **arguments: Any) -> Any:
    """Runs a task of `task.py`; returns what it tells.

    Raises:
        PeerError: It failed.
    """
    log = folder / f"{task}.log"
    with tempfile.TemporaryDirectory() as scratch, log.open("w") as file:
        result = Path(scratch, "result.json")
        command = [sys.executable, "-m", "tests.benchmarks.reading.task", task]
        command += [f"--peer={peer.name}", f"--folder={folder}", f"--result={result}"]
        command += [f"--arguments={json.dumps(arguments)}"]
        env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, stdout=file, stderr=file, env=env, check=False)
        if done.returncode or not result.exists():
            raise PeerError(_reason(log, done.returncode))
        return json.loads(result.read_text())


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "nothing"
    return f"ended with {status}, its last words in {log}: {last}"
