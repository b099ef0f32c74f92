"""Progress: from commit records and from small files that workers leave.

It needs nothing of an engine, so it works on every one of them: FnApiRunner shows no
metrics while it runs.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from beam_jobs.commits import committed_names, read_commit
from beam_jobs.job_plan import JobPlan
from beam_jobs.workspace import Workspace

_T = TypeVar("_T")

_LOOK_EVERY_SECONDS = 0.5
_LINE_EVERY_SECONDS = 10.0
_NOTE_EVERY_SECONDS = 0.5


class ShardProgress:
    """The worker's side: how many pairs of a shard are done, in a file."""

    def __init__(self, workspace: Workspace, label: str) -> None:
        """Takes the shard's label."""
        self._path = os.path.join(workspace.progress, label)
        self._noted_at = time.monotonic()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Removes the file: the commit record speaks from here on."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def watch(self, items: Iterator[_T]) -> Iterator[_T]:
        """Yields the items, and notes now and then how many went by."""
        for done, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - self._noted_at >= _NOTE_EVERY_SECONDS:
                self._noted_at = time.monotonic()
                with open(self._path, "w") as file:
                    file.write(str(done))


class ProgressBar:
    """The launcher's side: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, workspace: Workspace, plan: JobPlan) -> None:
        """Takes the plan, which says how much there is to do."""
        self._workspace = workspace
        self._plan = plan
        self._commits: dict[str, tuple[int, int]] = {}
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
        on_terminal = sys.stderr.isatty()
        total = self._plan.num_pairs
        with tqdm(total=total, unit=" examples", disable=not on_terminal) as bar:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(_LOOK_EVERY_SECONDS)
                done, rejects = self._look()
                bar.set_postfix(rejects=rejects, refresh=False)
                bar.update(done - bar.n)
                now = time.monotonic()
                if not on_terminal and now - said_at >= _LINE_EVERY_SECONDS:
                    said_at = now
                    line = f"{done:,} of {total:,} examples, {rejects:,} rejects"
                    print(f"{line}, {now - began:.0f} s", file=sys.stderr, flush=True)

    def _look(self) -> tuple[int, int]:
        """Returns how many pairs are done, and how many of these were rejected."""
        for name in committed_names(self._workspace):
            if name not in self._commits:
                commit = read_commit(self._workspace, name)
                if commit is not None:
                    rejects = len(commit.rejects)
                    self._commits[name] = commit.shard.num_examples + rejects, rejects
        done, rejects = (
            sum(column) for column in zip((0, 0), *self._commits.values(), strict=True)
        )
        return done + sum(self._in_progress()), rejects

    def _in_progress(self) -> Iterator[int]:
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._workspace.progress):
                path = os.path.join(self._workspace.progress, name)
                data = self._workspace.read_if_exists(path)
                if data and name not in self._commits:
                    yield int(data)
