"""Disks that are soon full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(path: Path, num_bytes: int) -> Iterator[Path]:
    """Mounts a file system in memory; skips the test where that is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "none", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"no small disk here: {error}")
    if done.returncode:
        pytest.skip(f"the kernel refuses a small disk: {done.stderr.strip()}")
    try:
        yield path
    finally:
        # Lazily: what failed may have a file open.
        subprocess.run(["umount", "-l", str(path)], check=True)
