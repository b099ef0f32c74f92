"""`diptych sample`: draws sample data, images of scenes with captions."""

import argparse
from typing import Any

from beam_jobs.cli.libraries import require
from reader.console.parser import add_command, not_empty

_EXAMPLES = (
    "diptych sample shapes",
    "diptych build --images=shapes/images --captions=shapes/captions --output=out",
)


def add_parser(commands: Any) -> None:
    """Adds the command `sample` to the command line."""
    text = "Draws scenes of colored shapes and writes matching captions."
    parser = add_command(
        commands,
        "sample",
        "DIR [OPTIONS]",
        text,
        group="make a dataset",
        examples=_EXAMPLES,
    )
    parser.add_argument("directory", metavar="DIR", type=not_empty, help="a new folder")
    parser.add_argument(
        "--num",
        type=int,
        metavar="N",
        default=200,
        help="number of scenes (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="random seed (%(default)s)"
    )
    parser.add_argument(
        "--captions_per_image",
        type=int,
        default=1,
        metavar="N",
        help="captions per image, one per line; with more than one, build with "
        "--captions_per_file=lines (%(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    require("sample", PIL="beam")
    from beam_jobs.sample_data import write_sample

    write_sample(
        namespace.directory,
        namespace.num,
        seed=namespace.seed,
        captions_per_image=namespace.captions_per_image,
    )
    folder = namespace.directory
    print(f"{namespace.num} scenes in {folder}/images and {folder}/captions")
    return 0
