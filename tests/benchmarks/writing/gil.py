"""What share of their time the threads of a build hold the GIL.

py-spy looks at a whole build a hundred times a second on average, twice: once it notes
all threads, and once the one that holds the GIL, if there is one. Of a thread, the
second number to the first is its share. Those that encode (`ThreadPoolExecutor`) live
only while shards are written; others wait for most of their time. Where cores have
other work, a thread may hold the GIL and not run: shares then come out larger.
"""

import re
import shutil
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.process import run
from tests.benchmarks.writing.contenders import build
from tests.benchmarks.writing.corpus import Corpus

_RATE = 100
_LEAST_SECONDS = 1
# A line of py-spy's, after the command: `";thread (12): MainThread;main (a.py:1);… 7`.
# A thread that was seen before its name was known is told by its number.
_LINE = re.compile(r'";thread \((\d+)\)(?:: ([^;]*?))?(?:;.*)? (\d+)$')


class Share(NamedTuple):
    """What a thread did; threads of a name count as one.

    Attributes:
        thread: Its name.
        seconds: How long it was there.
        gil: With the GIL, as a share of that.
    """

    thread: str
    seconds: float
    gil: float


def shares(corpus: Corpus, work: Path) -> list[Share]:
    """Builds a dataset, watched; returns the shares of its threads, largest first.

    Raises:
        ProcessError: py-spy may not look at processes, or the build failed.
    """
    held, there = (_samples(corpus, work, flag) for flag in ("--gil", "--idle"))
    found = [
        Share(name, number / _RATE, held[name] / number)
        for name, number in there.items()
        if number >= _LEAST_SECONDS * _RATE
    ]
    return sorted(found, key=lambda share: -share.gil)


def _samples(corpus: Corpus, work: Path, flag: str) -> Counter[str]:
    """Returns how often each thread was seen."""
    output, told = work / "output", work / "py-spy.txt"
    shutil.rmtree(output, ignore_errors=True)
    command = ["record", "--subprocesses", "--threads", "--format=raw", flag]
    command = [str(py_spy()), *command, f"--rate={_RATE}", f"--output={told}", "--"]
    run([*command, *build(corpus, output)], work / "log")
    shutil.rmtree(output)
    return parsed(told.read_text())


def py_spy() -> str | None:
    """Returns the path of py-spy, if it is installed."""
    beside_python = sysconfig.get_path("scripts")
    return shutil.which("py-spy", path=beside_python) or shutil.which("py-spy")


def parsed(raw: str) -> Counter[str]:
    """Returns how often each thread was seen, of py-spy's raw format."""
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for line in raw.splitlines():
        if match := _LINE.search(line):
            number, name, times = match.groups()
            names |= {number: name} if name else {}
            seen[number] += int(times)
    by_name: Counter[str] = Counter()
    for number, times in seen.items():
        by_name[names.get(number, f"thread {number}")] += times
    return by_name


def markdown(found: list[Share]) -> str:
    """Returns the table."""
    lines = ["| thread | seconds | holds the GIL |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.1f} | {gil:.1%} |" for name, seconds, gil in found]
    return "\n".join(lines)


def summary(found: list[Share]) -> list[dict[str, Any]]:
    """Returns the same, for JSON."""
    return [share._asdict() for share in found]
