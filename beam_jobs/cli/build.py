"""`diptych build`: runs the job and prints the plan, the counts and a code example."""

import argparse
import os
import sys
import time
from typing import Any

from beam_jobs.cli.build_flags import add_build_parser, config_from
from beam_jobs.cli.jobs import (
    job_command,
    print_failures,
    set_job_defaults,
    with_options,
)
from beam_jobs.config.job_config import JobConfig
from beam_jobs.storage.files import read_file
from reader.console.formatting import loading_text, splits_table
from reader.console.warnings import warnings_of
from reader.contract.layout import MANIFEST
from reader.contract.manifest import parse_manifest


def add_parser(commands: Any) -> None:
    """Adds the command `build` to the command line."""
    set_job_defaults(add_build_parser(commands), _run)


def _run(namespace: argparse.Namespace) -> int:
    with job_command("build", namespace):
        return build(config_from(namespace), namespace.rest)


def build(config: JobConfig, beam_args: list[str]) -> int:
    """Runs the job and prints a report.

    Args:
        config: Configuration of the job.
        beam_args: Apache Beam's flags.

    Returns:
        Exit status: 0 if the dataset is complete, 1 if it was not published.
    """
    # Beam and the codecs take seconds to import, so `--help` does not import them.
    from beam_jobs.cli.build_page import (
        key_warnings,
        outcome_page,
        plan_page,
        repair_page,
    )
    from beam_jobs.engines.options import is_dry_run
    from beam_jobs.job.run import check, run

    began = time.monotonic()
    config, options = with_options(config, beam_args)
    if is_dry_run(options):
        print(check(config, options))
        return 0
    result = run(config, options)
    if result is None:
        print(f"{config.output} is complete already: nothing to do")
        return 0
    plan, outcome = result.plan, result.outcome
    if result.repaired is not None:
        print(repair_page(plan, result.repaired))
        return 0
    for warning in key_warnings(config, plan):
        print(f"warning: {warning}", file=sys.stderr)
    if outcome is None:
        print(plan_page(plan))
        return 0
    print_failures(outcome.failures, config)
    print(outcome_page(plan, outcome), flush=True)
    if outcome.failures:
        return 1
    _report_dataset(config, time.monotonic() - began)
    return 0


def _report_dataset(config: JobConfig, seconds: float) -> None:
    from beam_jobs.job.additions import left_behind

    data = read_file(os.path.join(config.output, MANIFEST))
    manifest = parse_manifest(data, config.output)
    print("\n".join(splits_table(manifest)))
    for warning in warnings_of(manifest):
        print(f"warning: {warning}", file=sys.stderr)
    if left := left_behind(config.output, manifest):
        print(
            f"warning: {', '.join(left)} belong to an earlier build and no longer fit: "
            "make them again, or remove them",
            file=sys.stderr,
        )
    rate = manifest.num_examples / seconds
    print(f"built in {seconds:.1f} s, {rate:.0f} examples/s; read it with")
    print(f"  {loading_text(config.output, manifest.splits[0], manifest.image)}")
