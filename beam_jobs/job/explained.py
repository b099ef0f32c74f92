"""Replaces long errors of engines and of full disks with one message."""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator

from beam_jobs.storage.files import is_remote
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.worker_errors import read_notes
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError

_OS_ERROR = re.compile(r"\[Errno \d+\] ([^\n]+?)(?: \[while running [^\n]*)?\s*\Z")
_NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextlib.contextmanager
def explained(workspace: Workspace, lease: str) -> Iterator[None]:
    """Replaces an engine's error with the error that a worker reported."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if str(error).startswith("KeyboardInterrupt"):
            # The local engine wraps Ctrl-C like an exception of a DoFn.
            raise KeyboardInterrupt from error
        # A worker that lost the lease leaves no note, because the note would belong to
        # the other job.
        with contextlib.suppress(OSError):
            check_lease(workspace, lease)
        # Checked before the notes, which cannot be written to a full disk.
        if any(words in str(error) for words in _NO_SPACE):
            raise _no_space(workspace) from error
        notes = read_notes(workspace)
        if notes:
            more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
            raise BuildError(f"{notes[0]}{more}") from error
        if isinstance(error, BuildError):
            raise
        if match := _OS_ERROR.search(str(error)):
            # The worker could not write a note either.
            raise BuildError(
                f"{match[1]}: fix it and run the command again; finished shards are "
                "kept"
            ) from error
        raise


@contextlib.contextmanager
def full_disk_explained(workspace: Workspace) -> Iterator[None]:
    """Explains the launcher's own errors on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(workspace) from error


def _no_space(workspace: Workspace) -> BuildError:
    where = workspace.output
    if is_remote(where):
        where += f", in {tempfile.gettempdir()} of a worker (set TMPDIR to change it)"
    return BuildError(
        f"no space left for {where}: make room and run the command again; finished "
        "shards are kept"
    )
