"""The flags of `diptych build` and their conversion to a `JobConfig`."""

import argparse
from typing import Any

from beam_jobs.cli.settings_flags import add_flags, values_in
from beam_jobs.config.job_config import JobConfig
from reader.console.parser import add_command
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
        more="Folders and files can be in a bucket: gs://BUCKET/..., s3://BUCKET/... "
        "or az://CONTAINER/... Flags can be written with dashes or underscores. Apache "
        "Beam's flags are passed to Beam; docs/operations.md has commands for "
        "Dataflow, Flink and Spark.",
    )
    add_flags(parser, JobConfig)
    return parser


def config_from(namespace: argparse.Namespace) -> JobConfig:
    """Returns the configuration for parsed flags.

    Raises:
        UsageError: `--output` is missing, or a value is out of range.
    """
    # The parser does not require --output, so a typo such as --ouput is reported first.
    given = vars(namespace)
    if "output" not in given:
        raise UsageError("--output is missing: see diptych build --help")
    return JobConfig(**values_in(namespace, JobConfig))
