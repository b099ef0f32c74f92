"""The command line: `diptych build | layer | sample | demo | show | find | report | …`.

Exit status: 0 success, 1 failure, 2 wrong usage, 130 stopped by Ctrl-C, 141 output pipe
closed by its reader.
"""

import sys

from beam_jobs.cli import build, demo, layer, sample
from reader.__main__ import add_parsers
from reader.console.main import run_command
from reader.console.parser import MainParser
from reader.contract.version import __version__

_DESCRIPTION = (
    "Folders of images and captions in, sharded TFRecords out, GPU-ready batches "
    "streamed back."
)
_EXAMPLES = (
    "diptych build --images=photos --captions=texts --output=out",
    "diptych show out",
    "diptych find out park/0042",
    "diptych verify out --decode",
    "diptych bench out --batch_size=256 --image_size=224",
    "diptych report out",
)


def main(args: list[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        args: Arguments of the command line. By default those of the process.
    """
    return run_command(_parser(), sys.argv[1:] if args is None else args)


def _parser() -> MainParser:
    parser = MainParser("diptych", _DESCRIPTION, __version__, _EXAMPLES)
    for command in (build, layer, sample, demo):
        command.add_parser(parser.commands)
    add_parsers(parser.commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
