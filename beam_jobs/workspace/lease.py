"""The lease: one job at a time writes to an output, and its workers know which.

On this machine the output is locked as well, and a job that was killed holds no lock.
A bucket has no locks: there the lease alone tells that a job is at work, and whoever
knows that the job is dead takes it over.

Workers on other machines may outlive the job that sent them. They look at the lease
before they write, so that they do not meddle with the job that came after.
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
    """The output is another job's now: what fails here is none of that job's matter."""


@contextlib.contextmanager
def leased(workspace: Workspace, *, take_over: bool) -> Iterator[str]:
    """Holds the output while the block runs; gives the lease's name.

    Args:
        workspace: Of the output.
        take_over: Whether to end the lease of another job, in a bucket.

    Raises:
        BuildError: Another job is at work on it.
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
            # Some stores know no conditions: two jobs may both have written.
            check_lease(workspace, lease)
            yield lease
        finally:
            if _holder(workspace) == lease:
                delete_file(workspace.lease)


def _take(workspace: Workspace, lease: str, data: bytes) -> None:
    if _holder(workspace) is None and publish_new(workspace.lease, data):
        return
    # What was refused may be the second try of a request whose answer was lost.
    held = json.loads(read_if_exists(workspace.lease) or b"{}")
    if held.get("lease") != lease:
        raise BuildError(
            f"another job is writing to {workspace.output}: begun on "
            f"{held.get('host', 'a machine')} at {held.get('began', 'a time')}. Wait "
            "for it or, if you know that it is dead, pass --take_over; finished shards "
            "are kept"
        )


def check_lease(workspace: Workspace, lease: str) -> None:
    """Checks that a lease is that of the job at work.

    Raises:
        LeaseError: It has ended, or another job has taken over.
    """
    holder = _holder(workspace)
    if holder is None:
        raise LeaseError(
            f"no lease in {workspace.build}: it was removed while the job ran, another "
            "job took over and has ended, or this worker sees another folder of that "
            "name. Run the command again"
        )
    if holder != lease:
        raise LeaseError(
            f"another job has begun to write to {workspace.output}: this one stops"
        )


def _holder(workspace: Workspace) -> str | None:
    data = read_if_exists(workspace.lease)
    return None if data is None else str(json.loads(data)["lease"])


@contextlib.contextmanager
def _locked(workspace: Workspace) -> Iterator[None]:
    """Locks an output of this machine; a killed job holds nothing."""
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
    """Returns a file that is locked until it is closed; None if another one is."""
    import fcntl  # Windows has none, and reads datasets too.

    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(open(path, "w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A job that has just finished takes the lock's file away with it.
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                stack.pop_all()
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        return None
