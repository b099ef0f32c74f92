"""How many cores there are to use."""

import importlib
import os
from typing import Any

from reader.contract.errors import UsageError


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class MissingLibraryError(UsageError):
    """A library that this kind of tokenizer needs is not installed."""


def import_library(
    module: str, wanted_by: str, package: str = "'diptych[tokenizers]'"
) -> Any:
    """Imports a library that only some datasets need.

    Args:
        module: Its name in Python.
        wanted_by: What for, as the beginning of a message.
        package: What to install.

    Raises:
        MissingLibraryError: It is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingLibraryError(
            f"{wanted_by} needs {module}, which is not installed: pip install {package}"
        ) from None
