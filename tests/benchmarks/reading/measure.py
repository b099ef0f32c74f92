"""Runs a peer in a process of its own, and returns what epochs cost it.

Both times are taken inside, around the epochs after a first one: wall time, and user
and system time of the whole tree of processes (`usage.py`), workers that go on living
included. So imports, compilers and first epochs cost nothing. Against the difference of
two processes, one of which read more epochs, with all their children waited for, it
came to within 2 % in most rounds.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import process
from tests.benchmarks.reading.roster import TASKS, Case


class Cost(NamedTuple):
    """What some epochs cost."""

    images: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Images per CPU-second."""
        return self.images / self.cpu_seconds

    @property
    def per_second(self) -> float:
        """Images per second of wall time."""
        return self.images / self.wall_seconds


def folder_of(case: Case, work: Path) -> Path:
    """Returns the folder of what a peer reads, of a corpus in `work`."""
    return work / "peers" / case.peer / TASKS[case.task]


def run(action: str, case: Case, work: Path, **arguments: Any) -> Any:
    """Runs an action of `task.py`; returns its result.

    Raises:
        ProcessError: It failed.
    """
    folder = folder_of(case, work)
    log = folder / f"{action}.log"
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        command = [sys.executable, "-m", "tests.benchmarks.reading.task", action]
        command += [f"--case={json.dumps(case)}", f"--folder={folder}"]
        command += [f"--arguments={json.dumps(arguments)}", f"--result={result}"]
        process.run(command, log)
        if not result.exists():
            raise process.ProcessError(process.last_words(log, 0))
        return json.loads(result.read_text())


def cost_of_epochs(case: Case, work: Path, seconds: float) -> Cost:
    """Returns the cost of whole epochs of at least so many seconds.

    Raises:
        ProcessError: It failed.
    """
    return Cost(**run("read", case, work, seconds=seconds))


def measure(
    cases: list[Case], work: Path, rounds: int, seconds: float
) -> dict[Case, list[Cost]]:
    """Returns what each case cost in each round; one that fails is given up."""
    costs: dict[Case, list[Cost]] = {case: [] for case in cases}
    for number in range(rounds):
        turn = number * len(cases) // rounds
        for case in cases[turn:] + cases[:turn]:
            if case not in costs:
                continue
            try:
                cost = cost_of_epochs(case, work, seconds)
            except process.ProcessError as error:
                print(f"{case}: given up, {error}", file=sys.stderr)
                del costs[case]
                continue
            costs[case].append(cost)
            line = f"round {number + 1}: {case}, {cost.per_cpu_second:.0f} images/CPU-s"
            print(f"{line}, {cost.per_second:.0f} images/s", file=sys.stderr)
    return costs
