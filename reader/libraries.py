"""Libraries that only some datasets need."""

import importlib
from typing import Any

from reader.contract.errors import UsageError


def require(module: str, what: str) -> Any:
    """Returns a module.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        package = {"PIL": "pillow"}.get(module, module)
        raise UsageError(f"{what} need {package}: pip install {package}") from None
