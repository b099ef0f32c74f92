"""Imports the libraries of a command, or reports which package to install."""

import importlib
import importlib.util
import logging

from reader.contract.errors import UsageError


def require(command: str, **modules: str) -> None:
    """Checks that the libraries of a command are installed.

    Args:
        command: Name of the command.
        modules: Required modules, as `{module: extra of diptych that installs it}`.

    Raises:
        UsageError: A module is not installed. The message has the pip command.
    """
    for module, extra in modules.items():
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"diptych {command} needs {module}, which is not installed: "
                f"pip install 'diptych[{extra}]'"
            )


def import_beam() -> None:
    """Imports Beam without its warning that the BigQuery client is not installed."""
    logging.disable(logging.WARNING)
    try:
        importlib.import_module("apache_beam")
    finally:
        logging.disable(logging.NOTSET)
