"""The commands that need no Beam: `python -m reader show | find | select | …`."""

import sys
from typing import Any

from reader.console.main import run_command
from reader.console.parser import MainParser
from reader.contract.version import __version__
from reader.tools.bench import command as bench
from reader.tools.find import command as find
from reader.tools.report import command as report
from reader.tools.select import command as select
from reader.tools.show import command as show
from reader.tools.verify import command as verify

# In the order of the help page.
_COMMANDS = (show, find, select, report, verify, bench)

_EXAMPLES = (
    "python -m reader show out",
    "python -m reader find out park/0042",
    "python -m reader verify out --decode",
    "python -m reader bench out --batch_size=256 --image_size=224",
    "python -m reader report out",
)


def add_parsers(commands: Any) -> None:
    """Adds the parsers of the commands that read a dataset."""
    for command in _COMMANDS:
        command.add_parser(commands)


def main(args: list[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    parser = MainParser("python -m reader", __doc__, __version__, _EXAMPLES)
    add_parsers(parser.commands)
    return run_command(parser, sys.argv[1:] if args is None else args)


if __name__ == "__main__":
    sys.exit(main())
