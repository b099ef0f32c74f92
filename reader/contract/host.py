"""CPU cores and optional libraries of this host."""

import importlib
import os
from typing import Any

from reader.contract.errors import UsageError


def num_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
