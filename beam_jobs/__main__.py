"""The command line: `diptych build | sample | demo | show | find | report | …`.

Exit status: 0 complete, 1 failed, 2 wrong usage; 130 stopped by Ctrl-C, 141 nobody
reads on.
"""

import argparse
import contextlib
import importlib
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from beam_jobs.beam_args import check_beam_args
from beam_jobs.flags import add_build_parser, config_from
from reader.__main__ import add_reader_parsers
from reader.console.main import run_command
from reader.console.parser import MainParser, add_command, not_empty
from reader.contract.errors import UsageError
from reader.contract.version import __version__

_DESCRIPTION = (
    "Folders of images and captions in, sharded TFRecords out, GPU-ready batches "
    "streamed back."
)


def main(args: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    return run_command(_parser(), sys.argv[1:] if args is None else args)


_EXAMPLES = (
    "diptych build --images=photos --captions=texts --output=out",
    "diptych show out",
    "diptych find out park/0042",
    "diptych verify out --decode",
    "diptych bench out --batch_size=256 --image_size=224",
    "diptych report out",
)


def _parser() -> MainParser:
    parser = MainParser("diptych", _DESCRIPTION, __version__, _EXAMPLES)
    build = add_build_parser(parser.commands)
    again = "stopped; run the same command again to go on"
    build.set_defaults(run=_build, passes_on=True, build_parser=build, stopped=again)
    _add_demo_parser(parser.commands)
    _add_sample_parser(parser.commands)
    add_reader_parsers(parser.commands)
    return parser


def _add_demo_parser(commands: Any) -> None:
    text = "Draws a small dataset, builds it, verifies it and streams it."
    examples = ("diptych demo out", "diptych demo out --num=1000")
    parser = add_command(commands, "demo", "OUT [--num=N]", text, examples)
    parser.add_argument("output", metavar="OUT", type=not_empty, help="a new folder")
    parser.add_argument(
        "--num", type=int, metavar="N", default=200, help="scenes (%(default)s)"
    )
    parser.set_defaults(run=_demo)


_SAMPLE_EXAMPLES = (
    "diptych sample shapes",
    "diptych build --images=shapes/images --captions=shapes/captions --output=out",
)


def _add_sample_parser(commands: Any) -> None:
    text = "Draws scenes of coloured shapes, and captions true of them."
    parser = add_command(commands, "sample", "DIR [OPTIONS]", text, _SAMPLE_EXAMPLES)
    parser.add_argument("directory", metavar="DIR", type=not_empty, help="a new folder")
    parser.add_argument(
        "--num", type=int, metavar="N", default=200, help="scenes (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="(%(default)s)"
    )
    parser.add_argument(
        "--captions_per_image",
        type=int,
        default=1,
        metavar="N",
        help="one a line: build with --captions_per_file=lines (%(default)s)",
    )
    parser.set_defaults(run=_sample)


def _require(command: str, **modules: str) -> None:
    """Refuses a command whose side is not installed, and says what to install."""
    for module, extra in modules.items():
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"diptych {command} needs {module}, which is not installed: "
                f"pip install 'diptych[{extra}]'"
            )


def _build(namespace: argparse.Namespace) -> int:
    beam_args = namespace.rest
    _require("build", apache_beam="beam", cv2="beam", simplejpeg="beam")
    _import_beam()
    check_beam_args(beam_args, namespace.build_parser)
    _use_beam_options(beam_args)
    config = config_from(namespace)
    from beam_jobs.command import build

    with _sigterm_as_ctrl_c():
        return build(config, beam_args)


def _use_beam_options(beam_args: list[str]) -> None:
    """Tells stores their addresses and accounts: a tokenizer may lie in a bucket."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_jobs.storage.credentials import use_beam_options

    use_beam_options(PipelineOptions(beam_args))


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Gives up what is held when a scheduler wants its machine back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _import_beam() -> None:
    """Imports Beam without its remark that BigQuery's client is not installed."""
    logging.disable(logging.WARNING)
    try:
        importlib.import_module("apache_beam")
    finally:
        logging.disable(logging.NOTSET)


def _demo(namespace: argparse.Namespace) -> int:
    _require("demo", apache_beam="beam", simplejpeg="beam", tensorflow="reader")
    _import_beam()
    from beam_jobs.demo import demo

    return demo(namespace.output, namespace.num)


def _sample(namespace: argparse.Namespace) -> int:
    _require("sample", PIL="beam")
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


if __name__ == "__main__":
    sys.exit(main())
