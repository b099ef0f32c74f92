"""Publishes a worker's progress: the number of finished pairs of a shard."""

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from beam_jobs.storage.files import delete_file, is_remote
from beam_jobs.workspace.workspace import Workspace

_T = TypeVar("_T")

_NOTE_EVERY_SECONDS = 0.5
# In a bucket every update is a request, and stores limit updates of one object to one
# per second.
_BUCKET_INTERVAL_FACTOR = 20


def polling_seconds(workspace: Workspace, seconds: float) -> float:
    """Returns the interval in seconds between reads or updates of progress files.

    Args:
        workspace: Workspace of the output.
        seconds: Interval for a local output. Buckets use a longer one.
    """
    remote = is_remote(workspace.output)
    return seconds * _BUCKET_INTERVAL_FACTOR if remote else seconds


class ShardProgress:
    """Publishes the number of finished pairs of a shard in its progress file."""

    def __init__(self, workspace: Workspace, label: str) -> None:
        """Initializes the progress of a shard.

        Args:
            workspace: Workspace of the job.
            label: Label of the shard, used as the file name.
        """
        self._workspace = workspace
        self._path = os.path.join(workspace.progress, label)
        self._every = polling_seconds(workspace, _NOTE_EVERY_SECONDS)
        self._noted_at = time.monotonic()
        self._noted = False

    def __enter__(self) -> Self:
        """Returns the progress object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deletes the progress file, because the commit record replaces it."""
        if self._noted:
            delete_file(self._path)

    def watch(self, items: Iterator[_T]) -> Iterator[_T]:
        """Yields the items, and regularly publishes the number of finished items."""
        for done, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - self._noted_at >= self._every:
                self._noted_at, self._noted = time.monotonic(), True
                data = str(done).encode()
                self._workspace.publish(self._path, data, durable=False)
