"""A worker's progress notes: how many pairs of a shard are done, in a small file."""

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from beam_jobs.storage.files import delete_file, is_remote
from beam_jobs.workspace.workspace import Workspace

_T = TypeVar("_T")

_NOTE_EVERY_SECONDS = 0.5
# A bucket takes a request for each, and refuses one object's changes within a second.
_TIMES_LONGER_IN_BUCKETS = 20


def polling_seconds(workspace: Workspace, seconds: float) -> float:
    """Returns how long to wait between two looks at an output, or notes in it."""
    remote = is_remote(workspace.output)
    return seconds * _TIMES_LONGER_IN_BUCKETS if remote else seconds


class ShardProgress:
    """The worker's side: how many pairs of a shard are done, in a file."""

    def __init__(self, workspace: Workspace, label: str) -> None:
        """Takes the shard's label."""
        self._workspace = workspace
        self._path = os.path.join(workspace.progress, label)
        self._every = polling_seconds(workspace, _NOTE_EVERY_SECONDS)
        self._noted_at = time.monotonic()
        self._noted = False

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
        if self._noted:
            delete_file(self._path)

    def watch(self, items: Iterator[_T]) -> Iterator[_T]:
        """Yields the items, and notes now and then how many went by."""
        for done, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - self._noted_at >= self._every:
                self._noted_at, self._noted = time.monotonic(), True
                data = str(done).encode()
                self._workspace.publish(self._path, data, durable=False)
