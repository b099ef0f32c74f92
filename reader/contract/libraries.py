"""Libraries that only some datasets need, imported when they are asked for."""

import importlib
from typing import Any

from reader.contract.errors import UsageError


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
