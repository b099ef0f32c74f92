"""The flags of `diptych build` and their conversion to a `JobConfig`.

Flags are written with underscores, like Beam's flags. Dashes are accepted too. Beam's
flags are passed to Beam. A flag that neither Diptych nor Beam knows is an error.
"""

import argparse
from collections.abc import Callable
from typing import Any

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.settings import GROUPS, Setting, defaults_of, settings_of
from reader.console.parser import (
    CommandParser,
    add_command,
    check_given_once,
    flags_of,
)
from reader.contract.checks import did_you_mean
from reader.contract.errors import UsageError

_EXAMPLES = (
    "diptych build --images=photos --captions=photos --output=out",
    "diptych build --images=photos --captions=texts --output=out \\",
    "    --splits=train=0.98,validation=0.02 --image_size=288 --shard_size=256MiB",
    "diptych build --table=captions.csv --images=photos --output=out --dedupe=exact",
    "diptych build --coco=captions_train2017.json --images=train2017 --output=out",
    "diptych build --webdataset='shards/*.tar' --output=out",
    "diptych build --dataset=out --output=new --tokenizer=tokenizer.json",
    "diptych build --images=photos --captions=texts --output=out --plan_only",
    "diptych build --images=gs://BUCKET/photos --captions=gs://BUCKET/photos \\",
    "    --output=gs://BUCKET/out --runner=DataflowRunner --project=PROJECT \\",
    "    --region=REGION --temp_location=gs://BUCKET/tmp",
)


def add_build_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command `build` with its flags and returns its parser."""
    parser = add_command(
        commands,
        "build",
        "SOURCE --output=DIR [OPTIONS]",
        "Turns folders of images and captions into sharded TFRecords.",
        group="make a dataset",
        examples=_EXAMPLES,
        more="Folders and files can be in a bucket: gs://BUCKET/... or s3://BUCKET/... "
        "Flags can be written with dashes or underscores. Apache Beam's flags are "
        "passed to Beam; docs/operations.md has commands for Dataflow, Flink and "
        "Spark.",
    )
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    defaults = defaults_of(JobConfig)
    for field, declared in settings_of(JobConfig).items():
        _add_flag(groups[declared.group], field, defaults[field], declared)
    return parser


def _add_flag(group: Any, field: str, default: Any, declared: Setting) -> None:
    """Adds the flag for a field of `JobConfig`."""
    # Only flags that are given are in the namespace, so the default is in the help.
    help_text = (declared.help % {"default": default}).replace("%", "%%")
    options: dict[str, Any] = {"help": help_text, "default": argparse.SUPPRESS}
    if isinstance(default, bool):
        options["action"] = "store_true"
    elif declared.choices:
        options["choices"] = declared.choices
    else:
        is_number = declared.parse in (int, float)
        options["metavar"] = declared.metavar or ("N" if is_number else None)
        options["type"] = declared.parse if is_number else _typed(declared.parse)
    if declared.several:
        options["action"] = "append"
    group.add_argument(f"--{field}", **options)


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Converts a `UsageError` to an error whose message argparse shows."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def config_from(namespace: argparse.Namespace) -> JobConfig:
    """Returns the configuration for parsed flags.

    Raises:
        UsageError: `--output` is missing, or a value is out of range.
    """
    # The parser does not require --output, so a typo such as --ouput is reported first.
    given = vars(namespace)
    if "output" not in given:
        raise UsageError("--output is missing: see diptych build --help")
    fields = settings_of(JobConfig)
    return JobConfig(**{field: given[field] for field in fields if field in given})


def check_beam_args(args: list[str], ours: argparse.ArgumentParser) -> None:
    """Rejects flags that Beam does not know either, or that are given twice.

    Args:
        args: Flags that are not Diptych's.
        ours: Parser of Diptych's flags, used for suggestions.

    Raises:
        UsageError: A flag is unknown, and the message suggests a similar flag; or a
            flag is given twice.
    """
    from beam_jobs.storage.beam_internals import add_beam_flags

    beam = CommandParser(
        prog="diptych build", allow_abbrev=False, conflict_handler="resolve"
    )
    add_beam_flags(beam)
    _, unknown = beam.parse_known_args(args)
    if not unknown:
        check_given_once(args, beam)
        return
    flag = unknown[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f'unexpected argument "{flag}": write flags as --name=value')
    known = flags_of(ours), flags_of(beam)
    hint = did_you_mean(flag, *known, otherwise=f"see {beam.prog} --help")
    raise UsageError(f"unknown flag {flag}: {hint}")
