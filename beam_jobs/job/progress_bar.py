"""The launcher's progress bars, from commit records and workers' progress notes.

They need nothing from an engine, so they work on every one of them: FnApiRunner shows
no metrics while it runs.
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
    """How far a job is.

    Attributes:
        done: Of the bar's units.
        notes: What else is counted, by name.
    """

    done: int
    notes: dict[str, int]


class ProgressBar:
    """The launcher's side: a bar on a terminal, a line now and then elsewhere."""

    def __init__(
        self, look: Callable[[], State], *, unit: str, total: int | None, every: float
    ) -> None:
        """Takes where to look, and how often.

        Args:
            look: Returns how far the job is.
            unit: What is counted.
            total: How many there are; None if nobody knows yet.
            every: Seconds between two looks.
        """
        self._look = look
        self._unit = unit
        self._total = total
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        """Begins to show progress."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shows the last state and ends."""
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        began = said_at = time.monotonic()
        said = False
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
                # A look that fails is made again; what fails for good ends the job.
                with contextlib.suppress(OSError):
                    state = self._look()
                bar.set_postfix(state.notes, refresh=False)
                bar.update(state.done - bar.n)
                now = time.monotonic()
                due = now - said_at >= _LINE_EVERY_SECONDS or (said and stopping)
                if not on_terminal and due:
                    said_at, said = now, True
                    line = f"{self._line(state)}, {now - began:.0f} s"
                    print(line, file=sys.stderr, flush=True)

    def _line(self, state: State) -> str:
        total = "" if self._total is None else f" of {self._total:,}"
        notes = [f"{count:,} {name}" for name, count in state.notes.items()]
        return ", ".join([f"{state.done:,}{total} {self._unit}", *notes])


def planning_bar(workspace: Workspace) -> ProgressBar:
    """Returns a bar of the lists of pairs that planning leaves."""

    def look() -> State:
        lists = [n for n in names_in(workspace.plan_dir) if n.startswith("pairs-")]
        return State(len(lists), {})

    every = polling_seconds(workspace, _LOOK_EVERY_SECONDS)
    return ProgressBar(look, unit="lists of pairs planned", total=None, every=every)


def writing_bar(workspace: Workspace, plan: JobPlan) -> ProgressBar:
    """Returns a bar of examples; says what an earlier attempt has finished."""
    finished = len(committed_names(workspace))
    if finished:
        line = f"going on: {finished:,} of {plan.num_shards:,} shards are finished"
        print(line, file=sys.stderr, flush=True)
    every = polling_seconds(workspace, _LOOK_EVERY_SECONDS)
    look = _Commits(workspace).look
    return ProgressBar(look, unit="examples", total=plan.num_pairs, every=every)


class _Commits:
    """What commit records and notes in progress say, each record read once."""

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
