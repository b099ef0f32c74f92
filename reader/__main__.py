"""The commands that need no Beam: `python -m reader show | find | report | …`."""

import sys
from typing import Any

from reader.console.main import run_command
from reader.console.parser import MainParser
from reader.contract.version import __version__
from reader.tools.bench.command import add_bench_parser
from reader.tools.find.command import add_find_parser
from reader.tools.report.command import add_report_parser
from reader.tools.show.command import add_show_parser
from reader.tools.verify.command import add_verify_parser

_EXAMPLES = (
    "python -m reader show out",
    "python -m reader find out park/0042",
    "python -m reader verify out --decode",
    "python -m reader bench out --batch_size=256 --image_size=224",
    "python -m reader report out",
)


def add_reader_parsers(commands: Any) -> None:
    """Adds the commands that read a dataset."""
    add_show_parser(commands)
    add_find_parser(commands)
    add_verify_parser(commands)
    add_bench_parser(commands)
    add_report_parser(commands)


def main(args: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    parser = MainParser("python -m reader", __doc__, __version__, _EXAMPLES)
    add_reader_parsers(parser.commands)
    return run_command(parser, sys.argv[1:] if args is None else args)


if __name__ == "__main__":
    sys.exit(main())
