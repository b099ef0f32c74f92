"""What the commands that run a job share: what they check first, and how they end."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from beam_jobs.cli.libraries import import_beam, require
from beam_jobs.cli.settings_flags import check_beam_args
from beam_jobs.cli.signals import sigterm_as_ctrl_c
from beam_jobs.config.common_config import CommonConfig

if TYPE_CHECKING:  # Beam takes seconds to import, so `--help` does not import it.
    from apache_beam.options.pipeline_options import PipelineOptions

_Config = TypeVar("_Config", bound=CommonConfig)


def set_job_defaults(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]
) -> None:
    """Makes a parser that of a job, which also takes Apache Beam's flags.

    Args:
        parser: Parser of the command.
        run: Function that runs the command.
    """
    parser.set_defaults(
        run=run,
        passes_on=True,
        job_parser=parser,
        stopped="stopped; run the same command again to resume",
    )


@contextlib.contextmanager
def job_command(name: str, namespace: argparse.Namespace) -> Iterator[None]:
    """Checks libraries and flags; stops at SIGTERM and reports retries inside.

    Args:
        name: Name of the command.
        namespace: Parsed flags, of a parser with `set_job_defaults`.

    Raises:
        UsageError: A library is not installed, or a flag is unknown.
    """
    require(name, apache_beam="beam", cv2="beam", simplejpeg="beam")
    import_beam()
    from beam_jobs.engines.request_metrics import retries_reported

    check_beam_args(namespace.rest, namespace.job_parser)
    with sigterm_as_ctrl_c(), retries_reported():
        yield


def with_options(
    config: _Config, beam_args: list[str]
) -> tuple[_Config, "PipelineOptions"]:
    """Returns a job's configuration, as its workers need it, and Beam's options."""
    from beam_jobs.engines.options import engine_options, is_local

    options = engine_options(config, beam_args)
    # Workers may run in another folder, so relative paths do not work there.
    return config if is_local(options) else config.absolute(), options


def print_failures(failures: Sequence[str], config: CommonConfig) -> None:
    """Prints why a job published nothing, and where its rejects are."""
    from beam_jobs.workspace.workspace import Workspace

    for failure in failures:
        print(f"diptych: error: {failure}", file=sys.stderr)
    if failures and not config.plan_only:
        rejects = Workspace(config.output).too_many_rejects
        print(f"all rejects: {rejects}", file=sys.stderr)
