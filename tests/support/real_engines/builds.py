"""`diptych build` in a process of its own, and what it leaves."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from real_engines.processes import wait_until

_BUILD_SECONDS = 300
# Several seconds of work in many shards, so that a kill falls in the middle.
SLOW = ("--num_shards=40", "--image_size=1024", "--upscale")


class Build:
    """A build that was started, and what it has printed."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Starts it, in a process group of its own."""
        self._log = log
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "beam_jobs", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Waits until something is true, while it runs."""

        def true_while_running() -> bool:
            assert self._process.poll() is None, f"ended before {what}:\n{self.said}"
            return true()

        wait_until(true_while_running, lambda: f"{what}:\n{self.said}")

    def finish(self) -> None:
        """Waits for its end, which must be a good one."""
        assert self._process.wait(timeout=_BUILD_SECONDS) == 0, self.said

    def kill(self) -> None:
        """Kills it and its worker processes, which leaves no chance to clean up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def launched(source: Path, output: Path, *flags: str) -> Iterator[Build]:
    """Starts a build of a sample; kills what is left of it in the end."""
    folders = (f"--images={source}/images", f"--captions={source}/captions")
    limits = ("--max_rejects=20%", "--max_unpaired=20%")
    splits = "--splits=train=0.7,validation=0.3"
    command = ["build", *folders, f"--output={output}", splits, *limits, *flags]
    build = Build(command, output.with_suffix(".log"))
    try:
        yield build
    finally:
        build.kill()


def built(source: Path, output: Path, *flags: str) -> dict[str, str]:
    """Builds a dataset of a sample; returns digests of all its files."""
    with launched(source, output, *flags) as build:
        build.finish()
    return digests(output)


def digests(output: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a dataset, by its path."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def commits(output: Path) -> dict[str, int]:
    """Returns when each shard was committed, in nanoseconds, by its name."""
    records = (output / "_build/commits").glob("*.json")
    return {path.stem: path.stat().st_mtime_ns for path in records}
