"""What `diptych build` shows: the plan, the books, and how to read the dataset."""

import os
import sys
import time

from beam_jobs.config.job_config import JobConfig
from beam_jobs.engines.options import engine_options, is_dry_run, is_local
from beam_jobs.pipeline import check, run
from beam_jobs.storage.files import read_file
from beam_jobs.summary import mended_page, outcome_page, plan_page
from reader.console.formatting import loading_text, splits_table
from reader.console.warnings import warnings_of
from reader.contract.layout import MANIFEST
from reader.contract.manifest import parse_manifest


def build(config: JobConfig, beam_args: list[str]) -> int:
    """Runs the job and reports; returns the exit status."""
    began = time.monotonic()
    options = engine_options(config, beam_args)
    if not is_local(options):
        # Workers may have been started in another folder.
        config = config.absolute()
    if is_dry_run(options):
        print(check(config, options))
        return 0
    result = run(config, options)
    if result is None:
        print(f"{config.output} is complete already: nothing to do")
        return 0
    plan, outcome = result.plan, result.outcome
    if result.mended is not None:
        print(mended_page(plan, result.mended))
        return 0
    if outcome is None:
        print(plan_page(plan))
        return 0
    for failure in outcome.failures:
        print(f"diptych: error: {failure}", file=sys.stderr)
    if outcome.failures and not config.plan_only:
        print(f"all rejects: {config.output}/_build/rejects.jsonl", file=sys.stderr)
    print(outcome_page(plan, outcome), flush=True)
    if outcome.failures:
        return 1
    _report_dataset(config, time.monotonic() - began)
    return 0


def _report_dataset(config: JobConfig, seconds: float) -> None:
    data = read_file(os.path.join(config.output, MANIFEST))
    manifest = parse_manifest(data, config.output)
    print("\n".join(splits_table(manifest)))
    for warning in warnings_of(manifest):
        print(f"warning: {warning}", file=sys.stderr)
    rate = manifest.num_examples / seconds
    print(f"built in {seconds:.1f} s, {rate:.0f} examples/s; read it with")
    print(f"  {loading_text(config.output, manifest.splits[0], manifest.image)}")
