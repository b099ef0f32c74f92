"""Runs commands: prints an error as one line and returns the exit status.

0 complete, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 141 output pipe closed.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from reader.console.parser import MainParser, check_given_once, check_rest, underscored
from reader.console.terminal import printable, terminal_of
from reader.contract.errors import BuildError, DatasetError, UsageError, file_of
from reader.contract.host import import_library


def run_command(parser: MainParser, args: list[str]) -> int:
    """Parses a command line and runs its command; returns the exit status.

    The parser of a command sets the default `run`, a function of the parsed namespace.
    If it also sets the default `passes_on`, unknown flags are passed in `rest` instead
    of being rejected.
    """
    # Python sets a closed stream to None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A caption that the terminal cannot display must not stop the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    reporter = _ErrorReporter(parser.prog, "--traceback" in args)
    args = underscored(arg for arg in args if arg != "--traceback")
    namespace = argparse.Namespace(stopped="stopped")
    try:
        if not args:
            parser.print_help(sys.stderr)
            return 2
        parser.suggest(args)
        namespace, rest = parser.parse_known_args(args, namespace)
        if namespace.command is None:
            check_rest(rest, parser)
            parser.error("no command")
        command = parser.parsers[namespace.command]
        if not getattr(namespace, "passes_on", False):
            check_rest(rest, command)
        check_given_once(args, command)
        namespace.rest = rest
        status: int = namespace.run(namespace)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return reporter.report(error, 2)
    except (BuildError, DatasetError) as error:
        return reporter.report(error, 1)
    except KeyboardInterrupt:
        return reporter.report(namespace.stopped, 130)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe. The command may
        # be incomplete, so the status is the one that shells report for SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # The error concerns a file; a traceback would not explain more.
        return reporter.report(f"{error.strerror or error}: {file_of(error)}", 1)


class _ErrorReporter:
    def __init__(self, prog: str, with_traceback: bool) -> None:
        self._prog, self._with_traceback = prog, with_traceback

    def report(self, error: object, status: int) -> int:
        """Prints an error as one line and returns the exit status."""
        if self._with_traceback:
            traceback.print_exc()
        # File names are untrusted: they must not move the cursor or add a line.
        text, label = printable(str(error)), terminal_of(sys.stderr)
        print(
            f"{self._prog}: {label.paint('error:', 'bold', 'red')} {text}",
            file=sys.stderr,
        )
        return status


def print_json(value: Any) -> None:
    """Prints a value for scripts as one JSON document in ASCII.

    The output is valid in any terminal encoding and has no control characters other
    than newlines.
    """
    print(json.dumps(value, indent=1))


def import_tensorflow(wanted_by: str) -> None:
    """Imports TensorFlow without its startup messages.

    No TensorFlow setting suppresses all of them, so stderr is redirected. If
    `TF_CPP_MIN_LOG_LEVEL` is set to another value than 3, the messages are shown.

    Args:
        wanted_by: Feature that needs TensorFlow; begins the error message.

    Raises:
        MissingLibraryError: TensorFlow is not installed.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _no_stderr() if level == "3" else contextlib.nullcontext():
        import_library("tensorflow", wanted_by, "'diptych[reader]'")


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Discards everything written to stderr, by Python or by C code."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
