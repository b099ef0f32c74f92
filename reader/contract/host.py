"""CPU cores, optional libraries and processes of this host."""

import importlib
import os
import signal
import sys
from typing import Any

from reader.contract.errors import UsageError


def num_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def module_path() -> list[str]:
    """Returns where workers find modules: where this process does, but for its folder.

    A file in the working folder may have the name of a module, such as `queue.py`.
    """
    # Python ignores entries that are not text, such as a `Path`.
    texts = [path for path in sys.path if isinstance(path, str) and path]
    return [path for path in texts if not _is_working_folder(path)]


def _is_working_folder(path: str) -> bool:
    try:
        return os.path.samefile(path, os.curdir)
    except OSError:  # Either does not exist.
        return False


def exit_description(status: int) -> str:
    """Returns how a process ended, from its status as `subprocess` returns it."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:  # A real-time signal, which has no name.
        return f"died of signal {-status}"


class MissingLibraryError(UsageError):
    """An optional library is not installed."""


def import_library(
    module: str, wanted_by: str, package: str = "'diptych[tokenizers]'"
) -> Any:
    """Imports an optional library, which only some datasets need.

    Args:
        module: Name of the library's Python module.
        wanted_by: Feature that needs the library; begins the error message.
        package: Argument of `pip install` that installs the library.

    Raises:
        MissingLibraryError: The library is not installed. The message states how to
            install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingLibraryError(
            f"{wanted_by} needs {module}, which is not installed: pip install {package}"
        ) from None
