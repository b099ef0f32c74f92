"""The errors that callers may catch.

    UsageError (ValueError)       wrong arguments; raised before any work is done
    DatasetError (RuntimeError)   the files are not a finished, intact dataset
    BuildError (RuntimeError)     a job failed; the work that it completed is kept

Any other exception is a bug in Diptych.
"""

import os


class UsageError(ValueError):
    """Wrong usage; the message states the problem, the value and the fix."""


class DatasetError(RuntimeError):
    """A dataset is unfinished, damaged, or newer than this reader."""


class BuildError(RuntimeError):
    """A job failed; the message states what is missing and how to resume."""


def file_of(error: OSError) -> str:
    """Returns the path that an error is about; for a failed rename, the new path."""
    name = error.filename2 or error.filename
    return os.fsdecode(name) if name else "a file"
