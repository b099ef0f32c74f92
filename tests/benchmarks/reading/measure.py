"""Runs a peer in a process of its own, and tells what an epoch costs it.

Both times are taken inside, around the epochs after a first one: wall time, and user
and system time of the whole tree of processes (`clock.py`). So imports, compilers and
first epochs cost nothing. Against the difference of two processes, one of which read
more epochs, with all their children waited for, it came to within 2 % in most rounds.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import process
from tests.benchmarks.reading.roster import Peer


class Cost(NamedTuple):
    """What some epochs cost."""

    images: int
    cpu_seconds: float
    wall_seconds: float


def cost_of_epochs(peer: Peer, folder: Path, dtype: str, epochs: int) -> Cost:
    """Returns the cost of as many epochs, without all that comes before.

    Raises:
        ProcessError: It failed.
    """
    told = run("read", peer, folder, dtype=dtype, epochs=1 + epochs)
    names = ("images", "cpu_seconds", "seconds")
    return Cost(*(sum(told[name][1:]) for name in names))


def run(task: str, peer: Peer, folder: Path, **arguments: Any) -> Any:
    """Runs a task of `task.py`; returns what it tells.

    Raises:
        ProcessError: It failed.
    """
    log = folder / f"{task}.log"
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        command = [sys.executable, "-m", "tests.benchmarks.reading.task", task]
        command += [f"--peer={peer.name}", f"--folder={folder}", f"--result={result}"]
        command += [f"--arguments={json.dumps(arguments)}"]
        process.run(command, log)
        if not result.exists():
            raise process.ProcessError(process.last_words(log, 0))
        return json.loads(result.read_text())
