"""`diptych layer`: adds features to a finished dataset, and prints their counts."""

import argparse
import os
import time
from typing import Any

from beam_jobs.cli.jobs import (
    job_command,
    print_failures,
    set_job_defaults,
    with_options,
)
from beam_jobs.cli.settings_flags import add_flags, values_in
from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.config.settings import settings_of
from beam_jobs.storage.files import absolute
from reader.console.formatting import loading_text
from reader.console.parser import add_command
from reader.contract.errors import UsageError
from reader.contract.layout import LAYERS_DIR

_EXAMPLES = (
    "diptych layer out --name=recap-v2 --table=captions.parquet \\",
    "    --caption_column=caption --replaces=captions --fill=base",
    "diptych layer out --name=scores --table='scores-*.csv' --columns=score:float",
    "diptych layer out --name=clip --retokenize --tokenizer=merges.txt",
)


def add_parser(commands: Any) -> None:
    """Adds the command `layer` to the command line."""
    parser = add_command(
        commands,
        "layer",
        "OUT --name=NAME [OPTIONS]",
        "Adds captions, tokens or columns to the records of a finished dataset. The "
        "dataset's shards do not change, and no image is read.",
        group="make a dataset",
        examples=_EXAMPLES,
        more="Flags can be written with dashes or underscores. Apache Beam's flags are "
        "passed to Beam, as those of diptych build.",
    )
    folder = settings_of(LayerConfig)["dataset"]
    parser.add_argument("dataset", metavar=folder.metavar, help=folder.help)
    add_flags(parser, LayerConfig, without=["dataset"])
    set_job_defaults(parser, _run)


def _run(namespace: argparse.Namespace) -> int:
    with job_command("layer", namespace):
        return _layer(layer_config_from(namespace), namespace.rest)


def layer_config_from(namespace: argparse.Namespace) -> LayerConfig:
    """Returns the configuration for parsed flags.

    Raises:
        UsageError: `--name` is missing, or a value is out of range.
    """
    # The parser does not require --name, so a typo such as --nane is reported first.
    if "name" not in vars(namespace):
        raise UsageError("--name is missing: see diptych layer --help")
    return LayerConfig(**values_in(namespace, LayerConfig))


def _layer(config: LayerConfig, beam_args: list[str]) -> int:
    """Runs the job, prints a report and returns the exit status."""
    # Beam takes seconds to import, so `--help` does not import it.
    from beam_jobs.cli.layer_page import layer_page
    from beam_jobs.engines.options import is_dry_run
    from beam_jobs.job.run_layer import check_layer, layer

    began = time.monotonic()
    config, options = with_options(config, beam_args)
    if is_dry_run(options):
        print(check_layer(config, options))
        return 0
    result = layer(config, options)
    if result is None:
        print(f"{config.output} is complete already: nothing to do")
        return 0
    if result.repaired is not None:
        from beam_jobs.cli.build_page import repair_page

        print(repair_page(result.plan, result.repaired))
        return 0
    print_failures(result.outcome.failures, config)
    is_written = not (result.outcome.failures or config.plan_only)
    print(layer_page(result.outcome, is_written=is_written), flush=True)
    if result.outcome.failures:
        return 1
    if is_written:
        seconds = time.monotonic() - began
        print(f"added in {seconds:.1f} s; read it with")
        base, names = config.base, [name_to_read(config)]
        text = loading_text(config.dataset, base.splits[0], base.image, names)
        print(f"  {text}")
    return 0


def name_to_read(config: LayerConfig) -> str:
    """Returns what `layers=` of `reader.load` takes: a name, or a folder's path."""
    usual = os.path.join(config.dataset, LAYERS_DIR, config.name)
    if absolute(config.output) == absolute(usual):
        return config.name
    # A path has a slash, which tells it from a name.
    return config.output if "/" in config.output else f"./{config.output}"
