"""CPU time and memory of a process and all below it, while they run."""

import os
import resource
from pathlib import Path


def tree_seconds() -> float:
    """Returns user and system time of this process, and of all descendants so far.

    Those that are still running are looked up in `/proc`, to a hundredth of a second;
    one that ended and that nobody waited for is missed.
    """
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own = sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))
    return own + sum(_ticks(pid) for pid in _below(os.getpid())) / os.sysconf(
        "SC_CLK_TCK"
    )


def tree_bytes() -> int:
    """Returns the memory of this process and of all descendants, in bytes.

    Memory that they share counts once: it is the sum of their PSS (proc(5)).
    """
    return sum(map(held_bytes, [os.getpid(), *_below(os.getpid())]))


def held_bytes(process: int) -> int:
    """Returns the PSS of a process, in bytes; 0 if it has just ended."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:
            (line,) = (line for line in file if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return int(line.split()[1]) * 1024


def _below(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_below(child)]
    return found


def _ticks(pid: int) -> int:
    """Returns utime, stime, cutime and cstime (proc(5)); 0 if it has just ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))
