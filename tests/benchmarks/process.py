"""A command in a process of its own, and what it costs.

Both times are of the whole command: wall time, and user and system time of the process
and all that it starts (`usage.py`).
"""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.usage import tree_seconds


class ProcessError(Exception):
    """A process failed, or did not do what was asked for."""


class Seconds(NamedTuple):
    """What a command took."""

    cpu: float
    wall: float


def run(command: Sequence[str], log: Path) -> Seconds:
    """Runs a command; what it says goes to a file.

    Raises:
        ProcessError: It failed.
    """
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("w") as file:
        cpu, began = tree_seconds(), time.perf_counter()
        done = subprocess.run(command, stdout=file, stderr=file, env=env, check=False)
        took = Seconds(tree_seconds() - cpu, time.perf_counter() - began)
    if done.returncode:
        raise ProcessError(last_words(log, done.returncode))
    return took


def last_words(log: Path, status: int) -> str:
    """Returns how a process ended, and the last line that it said."""
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "nothing"
    return f"ended with {status}, its last words in {log}: {last}"
