"""Implements the lease, which allows only one job at a time to write to an output.

A local output is also locked with `flock`, and the lock of a killed job is released.
Buckets have no locks, so the lease is the only sign of a running job. A user who knows
that the job is dead can take the lease over.

Workers on other machines may outlive their job. Workers check the lease before they
write, so that they do not interfere with the next job.
"""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from typing import IO

from beam_jobs.storage.files import delete_file, is_remote, publish_new, read_if_exists
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError


class LeaseError(BuildError):
    """The job has lost its lease, so it must leave no error note for the next job."""


@contextlib.contextmanager
def leased(workspace: Workspace, *, take_over: bool) -> Iterator[str]:
    """Holds the lease of an output during the `with` block.

    Args:
        workspace: Workspace of the output.
        take_over: Whether to replace the lease of another job in a bucket.

    Yields:
        Token of the lease.

    Raises:
        BuildError: Another job is writing to the output.
    """
    lease = uuid.uuid4().hex
    host, began = socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S %Z")
    data = json.dumps({"lease": lease, "host": host, "began": began}).encode()
    with _locked(workspace):
        if is_remote(workspace.output) and not take_over:
            _take(workspace, lease, data)
        else:
            workspace.publish(workspace.lease, data)
        try:
            # Some stores lack conditional writes, so two jobs may both have written.
            check_lease(workspace, lease)
            yield lease
        finally:
            if _holder(workspace) == lease:
                delete_file(workspace.lease)


def _take(workspace: Workspace, lease: str, data: bytes) -> None:
    if _holder(workspace) is None and publish_new(workspace.lease, data):
        return
    # The refused write may be a retry of a successful write whose response was lost.
    held = json.loads(read_if_exists(workspace.lease) or b"{}")
    if held.get("lease") != lease:
        raise BuildError(
            f"another job is writing to {workspace.output}: started on "
            f"{held.get('host', 'an unknown host')} at "
            f"{held.get('began', 'an unknown time')}. Wait for it or, if you know that "
            "it is dead, pass --take_over; finished shards are kept"
        )


def check_lease(workspace: Workspace, lease: str) -> None:
    """Checks that a lease still holds the output.

    Args:
        workspace: Workspace of the output.
        lease: Token of the lease.

    Raises:
        LeaseError: The lease was removed, or another job has taken it over.
    """
    holder = _holder(workspace)
    if holder is None:
        raise LeaseError(
            f"no lease in {workspace.build}: it was removed while the job was running, "
            "another job took over and has ended, or this worker sees a different "
            "folder under that path. Run the command again"
        )
    if holder != lease:
        raise LeaseError(
            f"another job started writing to {workspace.output}: this job stops"
        )


def _holder(workspace: Workspace) -> str | None:
    data = read_if_exists(workspace.lease)
    return None if data is None else str(json.loads(data)["lease"])


@contextlib.contextmanager
def _locked(workspace: Workspace) -> Iterator[None]:
    """Locks a local output. The lock of a killed job is released."""
    if is_remote(workspace.output):
        yield
        return
    lock = _lock(workspace.lock)
    if lock is None:
        raise BuildError(
            f"another job is writing to {workspace.output}: wait for it, or choose "
            "another --output"
        )
    with lock:
        yield


def _lock(path: str) -> IO[str] | None:
    """Returns a file that is locked until closed, or None if it is already locked."""
    import fcntl  # Windows has no fcntl, but can read datasets.

    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(open(path, "w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A job that has just finished may have deleted the lock file.
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                stack.pop_all()
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        return None
