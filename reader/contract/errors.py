"""The errors that callers may catch.

    UsageError (ValueError)       wrong arguments; raised before any work is done
    DatasetError (RuntimeError)   what is on disk is not a finished, intact dataset
    BuildError (RuntimeError)     a job could not finish; what it has done is kept

Anything else that is raised is a bug of ours.
"""

import os


class UsageError(ValueError):
    """Wrong usage: says what is wrong, the value, and what to do."""


class DatasetError(RuntimeError):
    """A dataset that is unfinished, damaged, or newer than this reader."""


class BuildError(RuntimeError):
    """A job that failed: says what is missing and how to go on."""


def file_of(error: OSError) -> str:
    """Returns the file that an error is about; of one to be renamed, the new name."""
    name = error.filename2 or error.filename
    return os.fsdecode(name) if name else "a file"
