"""Why a worker gave up, in words for the person who started the job.

Engines wrap a worker's exception in their own and add a page of traceback. A note on
the side reaches the launcher whole, on any engine.
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
    """Leaves a note when reading or writing fails; the error goes on."""
    try:
        yield
    except LeaseError:
        # Only the job that came after would read a note, and take it for its own.
        raise
    except BuildError as error:
        _leave(workspace, label, str(error))
        raise
    except OSError as error:
        path = file_of(error)
        remedy = "mend it and run the command again, finished shards are kept"
        if error.errno == errno.ESTALE:
            remedy = "pass --overwrite to begin with the sources as they are now"
        _leave(workspace, label, f"{error.strerror or error}: {path}: {remedy}")
        raise


def _leave(workspace: Workspace, label: str, message: str) -> None:
    # The disk may be what failed; then the error alone has to do.
    with contextlib.suppress(OSError):
        workspace.publish(
            os.path.join(workspace.failures, f"{label}.json"),
            json.dumps({"message": message}).encode(),
        )


def read_notes(workspace: Workspace) -> list[str]:
    """Returns the notes that workers left, in order of their labels."""
    names = names_in(workspace.failures)
    notes = read_files(os.path.join(workspace.failures, name) for name in names)
    return [json.loads(note)["message"] for note in notes if note]
