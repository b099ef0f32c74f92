"""Kills jobs in the middle of their work."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from patience import PATIENCE_SECONDS


def kill_once(command: list[str], when) -> None:
    """Starts a build in a process group and kills the group once `when()`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs", *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not when():
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def commits(output: Path) -> int:
    folder = output / "_build/commits"
    return len(list(folder.iterdir())) if folder.exists() else 0
