"""Command line of `diptych report`: writes an HTML page about a dataset."""

import argparse
from typing import Any

from reader.console.formatting import size_text
from reader.console.parser import add_command
from reader.console.terminal import printable
from reader.tools.flags import add_folder
from reader.tools.report import DEFAULT_SAMPLES

_EXAMPLES = (
    "diptych report out                          # writes out/report.html",
    "diptych report out --output=page.html --samples=200",
    "diptych report gs://bucket/out --output=page.html",
)


def add_parser(commands: Any) -> None:
    """Adds the command `report`."""
    parser = add_command(
        commands,
        "report",
        "OUT [--output=FILE] [--samples=N]",
        "Writes an HTML page about a dataset. The page is self-contained and shows the "
        "accounting of keys, examples, sizes, captions, tokens and rejects.",
        group="inspect a dataset",
        examples=_EXAMPLES,
    )
    add_folder(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="HTML file (default: OUT/report.html)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=DEFAULT_SAMPLES,
        metavar="N",
        help="examples to show (%(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from reader.tools.report.write import write_report

    page = write_report(namespace.folder, namespace.output, namespace.samples)
    print(
        f"{printable(page.path)}: {size_text(page.num_bytes)}, with "
        f"{page.num_shown:,} of {page.num_examples:,} examples"
    )
    return 0
