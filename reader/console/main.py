"""What every command has in common: errors in one line, and the exit status.

0 complete, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 141 nobody reads on.
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

from reader.console.parser import MainParser, check_rest, underscored
from reader.console.terminal import printable, terminal_of
from reader.contract.errors import BuildError, DatasetError, UsageError, file_of
from reader.contract.host import import_library


def run_command(parser: MainParser, args: list[str]) -> int:
    """Parses a command line and runs its command; returns the exit status.

    A command's parser has the default `run`, a function of what was parsed. With the
    default `passes_on`, flags that it does not know are in `rest`.
    """
    # Python has None for those that are closed.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a caption should not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    told = _Told(parser.prog, "--traceback" in args)
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
        if not getattr(namespace, "passes_on", False):
            check_rest(rest, parser.parsers[namespace.command])
        namespace.rest = rest
        status: int = namespace.run(namespace)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return told.error(error, 2)
    except (BuildError, DatasetError) as error:
        return told.error(error, 1)
    except KeyboardInterrupt:
        return told.error(namespace.stopped, 130)
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough. The status is what
        # a shell shows of SIGPIPE: we cannot say that all went well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # Of files, here, and so nothing that a traceback would explain.
        return told.error(f"{error.strerror or error}: {file_of(error)}", 1)


class _Told:
    """How errors are told."""

    def __init__(self, prog: str, with_traceback: bool) -> None:
        self._prog, self._with_traceback = prog, with_traceback

    def error(self, error: object, status: int) -> int:
        if self._with_traceback:
            traceback.print_exc()
        # Names of files are anybody's: none may move a cursor or make a second line.
        text, label = printable(str(error)), terminal_of(sys.stderr)
        print(
            f"{self._prog}: {label.paint('error:', 'bold', 'red')} {text}",
            file=sys.stderr,
        )
        return status


def print_json(value: Any) -> None:
    """Prints a value for scripts: one JSON document, in ASCII.

    It is valid whatever the terminal's encoding, and no caption moves its cursor.
    """
    print(json.dumps(value, indent=1))


def import_tensorflow(wanted_by: str) -> None:
    """Imports TensorFlow without its greeting, some of which no setting of it stops.

    Who has set `TF_CPP_MIN_LOG_LEVEL` to less than 3 is shown it.

    Raises:
        MissingLibraryError: It is not installed.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _no_stderr() if level == "3" else contextlib.nullcontext():
        import_library("tensorflow", wanted_by, "'diptych[reader]'")


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Sends to nowhere what is written to stderr, be it by Python or by C."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
