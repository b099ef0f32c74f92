"""Progress bars of the launcher, from commit records and workers' progress files.

The bars use no metrics of an engine, so they work on every engine. FnApiRunner, for
example, shows no metrics while it runs.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Self

from tqdm import tqdm

from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.storage.files import names_in, read_files
from beam_jobs.workspace.commits import committed_names, read_commits
from beam_jobs.workspace.shard_progress import polling_seconds
from beam_jobs.workspace.workspace import Workspace

_LOOK_EVERY_SECONDS = 0.5
_LINE_EVERY_SECONDS = 10.0


class State(NamedTuple):
    """Progress of a job.

    Attributes:
        done: Number of finished units.
        notes: Other counts, as `{name: count}`.
    """

    done: int
    notes: dict[str, int]


class ProgressBar:
    """Shows a progress bar on a terminal, or prints a line every 10 s elsewhere."""

    def __init__(
        self, look: Callable[[], State], *, unit: str, total: int | None, every: float
    ) -> None:
        """Initializes the bar.

        Args:
            look: Function that returns the progress of the job.
            unit: Name of the counted unit, in the plural.
            total: Total number of units. None if it is unknown.
            every: Seconds between two calls of `look`.
        """
        self._look = look
        self._unit = unit
        self._total = total
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        """Starts the thread that shows progress."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shows the final state and stops the thread."""
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        began = printed_at = time.monotonic()
        printed = False
        state = State(0, {})
        on_terminal = sys.stderr.isatty()
        with tqdm(
            total=self._total,
            unit=f" {self._unit}",
            disable=not on_terminal,
            leave=self._total is not None,
        ) as bar:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(self._every)
                # Errors are ignored here: a permanent error also ends the job itself.
                with contextlib.suppress(OSError):
                    state = self._look()
                bar.set_postfix(state.notes, refresh=False)
                bar.update(state.done - bar.n)
                now = time.monotonic()
                due = now - printed_at >= _LINE_EVERY_SECONDS or (printed and stopping)
                if not on_terminal and due:
                    printed_at, printed = now, True
                    line = f"{self._line(state)}, {now - began:.0f} s"
                    print(line, file=sys.stderr, flush=True)

    def _line(self, state: State) -> str:
        total = "" if self._total is None else f" of {self._total:,}"
        notes = [f"{count:,} {name}" for name, count in state.notes.items()]
        return ", ".join([f"{state.done:,}{total} {self._unit}", *notes])


def planning_bar(workspace: Workspace) -> ProgressBar:
    """Returns a progress bar that counts the lists of pairs written by planning."""

    def look() -> State:
        lists = [n for n in names_in(workspace.plan_dir) if n.startswith("pairs-")]
        return State(len(lists), {})

    every = polling_seconds(workspace, _LOOK_EVERY_SECONDS)
    return ProgressBar(look, unit="lists of pairs planned", total=None, every=every)


def writing_bar(workspace: Workspace, plan: JobPlan, total: int) -> ProgressBar:
    """Returns a progress bar that counts examples.

    If an earlier attempt has finished shards, also prints their number.

    Args:
        workspace: Workspace of the job.
        plan: Plan of the job.
        total: Number of examples in all shards, if none is rejected.
    """
    finished = len(committed_names(workspace))
    if finished:
        line = f"resuming: {finished:,} of {plan.num_shards:,} shards are finished"
        print(line, file=sys.stderr, flush=True)
    every = polling_seconds(workspace, _LOOK_EVERY_SECONDS)
    look = _Commits(workspace).look
    return ProgressBar(look, unit="examples", total=total, every=every)


class _Commits:
    """Progress from commit records and progress files. Reads each record once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self) -> State:
        names = committed_names(self._workspace)
        new = [name for name in names if name not in self._seen]
        for name, commit in zip(new, read_commits(self._workspace, new), strict=True):
            if commit is not None:
                rejects = len(commit.rejects)
                self._seen[name] = commit.shard.num_examples + rejects, rejects
        done, rejects = (
            sum(column) for column in zip((0, 0), *self._seen.values(), strict=True)
        )
        return State(done + sum(self._in_progress()), {"rejects": rejects})

    def _in_progress(self) -> Iterator[int]:
        folder = self._workspace.progress
        names = [name for name in names_in(folder) if name not in self._seen]
        for data in read_files(os.path.join(folder, name) for name in names):
            yield int(data or 0)
