"""Passes readable error messages from workers to the launcher.

Engines wrap a worker's exception in their own exceptions and add a long traceback. A
note in a separate file reaches the launcher unchanged on any engine.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator

from beam_jobs.storage.files import names_in, read_files
from beam_jobs.workspace.lease import LeaseError
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError, file_of


@contextlib.contextmanager
def noted(workspace: Workspace, label: str) -> Iterator[None]:
    """Writes a note if the `with` block fails to read or write, and raises the error.

    The requests to object stores that it repeats are counted.

    Args:
        workspace: Workspace of the job.
        label: Label of the worker's task, used as the name of the note.
    """
    try:
        yield
    except LeaseError:
        # The next job would read the note and report the error as its own.
        raise
    except BuildError as error:
        _write_note(workspace, label, str(error))
        raise
    except OSError as error:
        path = file_of(error)
        fix = "fix it and run the command again; finished shards are kept"
        if error.errno == errno.ESTALE:
            fix = "pass --overwrite to build from the current sources"
        _write_note(workspace, label, f"{error.strerror or error}: {path}: {fix}")
        raise
    finally:
        # The launcher reads notes before it loads an engine.
        from beam_jobs.engines.request_metrics import count_retries

        count_retries()


def _write_note(workspace: Workspace, label: str, message: str) -> None:
    # If the disk failed, the note cannot be written either. The error is still raised.
    with contextlib.suppress(OSError):
        workspace.publish(
            os.path.join(workspace.failures, f"{label}.json"),
            json.dumps({"message": message}).encode(),
        )


def read_notes(workspace: Workspace) -> list[str]:
    """Returns the messages of all notes, sorted by label."""
    names = names_in(workspace.failures)
    notes = read_files(os.path.join(workspace.failures, name) for name in names)
    return [json.loads(note)["message"] for note in notes if note]
