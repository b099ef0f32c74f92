"""The command line: `diptych build | demo | sample | show | verify`.

Exit status: 0 complete, 1 failed, 2 wrong usage.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from beam_jobs.beam_args import check_beam_args
from beam_jobs.flags import add_build_parser, config_from, underscored
from reader.__main__ import add_show_parser, add_verify_parser
from reader.contract.errors import BuildError, DatasetError, UsageError
from reader.contract.version import __version__


def main(args: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a caption should not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = underscored(sys.argv[1:] if args is None else args)
    parser = _parser()
    namespace, rest = parser.parse_known_args(args)
    try:
        if namespace.command == "build":
            return _build(namespace, rest)
        if rest:
            parser.error(f"unknown argument {rest[0]}")
        status: int = namespace.run(namespace)
        return status
    except UsageError as error:
        return _fail(error, status=2)
    except (BuildError, DatasetError) as error:
        return _fail(error, status=1)
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again to go on", status=130)
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough. The status is what
        # a shell shows of SIGPIPE: we cannot say that all went well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # Of files, here, and so nothing that a traceback would explain.
        from beam_jobs.failures import file_of

        return _fail(f"{error.strerror or error}: {file_of(error)}", status=1)


def _fail(error: object, *, status: int) -> int:
    # Names of files are anybody's: none may move a cursor or make a second line.
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
    print(f"diptych: error: {text}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diptych", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"diptych {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = add_build_parser(commands)
    build.set_defaults(build_parser=build)
    _add_demo_parser(commands)
    _add_sample_parser(commands)
    add_show_parser(commands)
    add_verify_parser(commands)
    return parser


def _add_demo_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    parser = commands.add_parser(
        "demo",
        help="draw, build, verify and stream a small dataset",
        description="Draws a small dataset, builds it, verifies it and streams it.",
        allow_abbrev=False,
    )
    parser.add_argument("output", metavar="OUT", help="a new folder")
    parser.add_argument("--num", type=int, default=200, help="scenes (%(default)s)")
    parser.set_defaults(run=_demo)


def _add_sample_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    parser = commands.add_parser(
        "sample",
        help="draw scenes of coloured shapes, with captions",
        description="Draws scenes of coloured shapes, and captions true of them.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="a new folder")
    parser.add_argument("--num", type=int, default=200, help="scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
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


def _build(namespace: argparse.Namespace, beam_args: list[str]) -> int:
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

    from beam_jobs.objects.settings import use_beam_options

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
    from beam_jobs.sample import write_sample

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
