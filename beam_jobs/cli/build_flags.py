"""The flags of `diptych build`, and how they become a `JobConfig`.

Spelled with underscores as Beam's are; dashes are accepted too. Beam's own flags pass
through; a flag that neither side knows is an error.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import (
    CAPTIONS_PER_FILE,
    DEDUPE,
    IMAGE_FORMATS,
    RESIZE_MODES,
    SPLIT_BY,
    JobConfig,
)
from beam_jobs.config.values import allowed, parse_size, parse_splits
from reader.console.parser import add_command, did_you_mean, flags_of
from reader.contract.errors import UsageError

_EXAMPLES = (
    "diptych build --images=photos --captions=photos --output=out",
    "diptych build --images=photos --captions=texts --output=out \\",
    "    --splits=train=0.98,validation=0.02 --image_size=288 --shard_size=256MiB",
    "diptych build --table=captions.csv --images=photos --output=out --dedupe=exact",
    "diptych build --coco=captions_train2017.json --images=train2017 --output=out",
    "diptych build --webdataset='shards/*.tar' --output=out",
    "diptych build --images=photos --captions=texts --output=out --plan_only",
    "diptych build --images=gs://BUCKET/photos --captions=gs://BUCKET/photos \\",
    "    --output=gs://BUCKET/out --runner=DataflowRunner --project=PROJECT \\",
    "    --region=REGION --temp_location=gs://BUCKET/tmp",
)


def add_build_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command `build` with its flags."""
    parser = add_command(
        commands,
        "build",
        "SOURCE --output=DIR [OPTIONS]",
        "Turns folders of images and captions into sharded TFRecords.",
        group="make a dataset",
        examples=_EXAMPLES,
        more="Folders and files may be in a bucket: gs://BUCKET/... or s3://BUCKET/... "
        "Dashes in flags do for underscores. Flags of Apache Beam pass through; "
        "docs/operations.md has commands for Dataflow, Flink and Spark.",
    )
    _add_sources(parser)
    _add_output(parser)
    _add_splits_and_shards(parser)
    _add_images(parser)
    _add_captions(parser)
    _add_limits_and_resources(parser)
    _add_about(parser)
    return parser


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(JobConfig)}


def _add(group: Any, name: str, help: str, **more: Any) -> None:
    """Adds the flag of a field of `JobConfig`, with that field's default."""
    if more.get("type") in (int, float):
        more.setdefault("metavar", "N")
    group.add_argument(f"--{name}", help=help, default=_DEFAULTS[name], **more)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_argument_group("sources: one of these")
    for name, metavar, help in (
        ("images", "DIR", "folder of images, at any depth"),
        ("captions", "DIR", "folder of captions (.txt, .caption); may be the same"),
        ("table", "FILE", "CSV, TSV, JSONL or Parquet that names images; or a glob"),
        ("coco", "FILE", "captions as COCO has them, images in --images"),
        ("webdataset", "GLOB", "tars; quote the glob"),
    ):
        _add(sources, name, help, metavar=metavar)

    columns = parser.add_argument_group("columns of a table, or of WebDataset's JSON")
    for name, help in (
        ("image_column", "names images (by usual names: file_name, image, …)"),
        ("caption_column", "captions (by usual names: caption, text, …)"),
        ("key_column", "keys (by the images' names)"),
        ("split_column", "names splits, in place of --splits"),
    ):
        _add(columns, name, help, metavar="NAME")
    _add(
        columns,
        "columns",
        "carried through as extra/…: score:float,url:str,emb:float[512],label:int=-1",
        metavar="NAME:TYPE,…",
        type=_typed(parse_columns),
    )
    _add(
        columns,
        "allow_roots",
        "folders that a table may name images in, besides --images",
        metavar="DIR,…",
        type=_folders,
    )


def _folders(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _add_output(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("output")
    files.add_argument(
        "--output",
        metavar="DIR",
        help="the dataset's folder; new, or that of an unfinished job",
    )
    _add(files, "name", "the dataset's name (%(default)s)")
    _add(
        files,
        "overwrite",
        "replace the dataset that --output holds",
        action="store_true",
    )
    _add(
        files,
        "repair",
        "check every byte of what is finished, and write again what is damaged",
        action="store_true",
    )
    _add(
        files,
        "take_over",
        "go on with a job on an output in a bucket that died without saying so",
        action="store_true",
    )
    _add(
        files,
        "plan_only",
        "pair the files and show the plan; write nothing",
        action="store_true",
    )


def _add_about(parser: argparse.ArgumentParser) -> None:
    about = parser.add_argument_group("what is said of the dataset to other tools")
    for name, metavar, help in (
        ("dataset_version", "X.Y.Z", "its version (%(default)s)"),
        ("description", "TEXT", "what it is (how much it holds)"),
        ("license", "NAME|URL", "its licence"),
        ("url", "URL", "its page"),
        ("citation", "TEXT", "how to cite it, best as BibTeX"),
        ("date_published", "YYYY-MM-DD", "when it was published"),
    ):
        _add(about, name, help, metavar=metavar)


def _add_splits_and_shards(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group("splits and shards")
    plan.add_argument(
        "--splits",
        metavar="NAME=SHARE,…",
        type=_typed(parse_splits),
        help="such as train=0.9,validation=0.1 (train=1)",
        default={"train": 1},
    )
    _add(
        plan,
        "split_by",
        "what decides on the split; content is the image's file (%(default)s)",
        choices=SPLIT_BY,
    )
    _add(
        plan,
        "dedupe",
        "exact: of keys with equal image files, keep one (%(default)s)",
        choices=DEDUPE,
    )
    _add(plan, "num_shards", "shards over all splits (by --shard_size)", type=int)
    _add(
        plan,
        "shard_size",
        "about how large a shard is (128MiB)",
        type=_typed(parse_size),
        metavar="SIZE",
    )
    _add(plan, "seed", "of order and splits (%(default)s)", type=int)


def _add_images(parser: argparse.ArgumentParser) -> None:
    images = parser.add_argument_group("images")
    _add(
        images,
        "resize",
        "what --image_size refers to (%(default)s)",
        choices=RESIZE_MODES,
    )
    _add(
        images,
        "image_size",
        "pixels; smaller images stay as they are (%(default)s)",
        type=int,
    )
    _add(images, "upscale", "enlarge smaller images too", action="store_true")
    _add(
        images,
        "image_format",
        "how images are stored (%(default)s)",
        choices=IMAGE_FORMATS,
    )
    _add(images, "jpeg_quality", "1 to 100 (%(default)s)", type=int)
    _add(images, "jpeg_subsampling", "of chroma (%(default)s)", choices=("420", "444"))
    _add(images, "max_pixels", "reject larger images undecoded (%(default)s)", type=int)
    _add(
        images,
        "max_image_bytes",
        "reject larger image files unread (256MiB)",
        type=_typed(parse_size),
        metavar="SIZE",
    )
    _add(images, "min_image_size", "leave out if a side is shorter", type=int)
    _add(
        images,
        "max_aspect_ratio",
        "leave out if one side is more than so many times the other",
        type=float,
    )


def _add_captions(parser: argparse.ArgumentParser) -> None:
    captions = parser.add_argument_group("captions")
    _add(
        captions,
        "captions_per_file",
        "a file is one caption, or each of its lines is (%(default)s)",
        choices=CAPTIONS_PER_FILE,
    )
    _add(
        captions,
        "caption_encoding",
        "of captions and tables without a byte order mark (%(default)s)",
        metavar="NAME",
    )
    _add(
        captions,
        "tokenizer",
        "basic, bytes, or a tokenizer.json, SentencePiece model or CLIP's merges "
        "(%(default)s)",
        metavar="KIND|FILE",
    )
    _add(
        captions,
        "vocab_size",
        "words and four special tokens of basic (%(default)s)",
        type=int,
    )
    _add(captions, "min_count", "a word must occur so often (%(default)s)", type=int)


def _add_limits_and_resources(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits: a count, or a percentage of all keys")
    limit: dict[str, Any] = {"type": _typed(_limit), "metavar": "N|N%"}
    _add(limits, "max_rejects", "fail if more are rejected (1%%)", **limit)
    _add(limits, "max_unpaired", "fail if more lack image or caption (10%%)", **limit)

    resources = parser.add_argument_group("this machine")
    _add(resources, "workers", "processes (by the number of cores)", type=int)
    _add(resources, "threads", "threads of each process (by the cores)", type=int)


def _limit(text: str) -> str:
    allowed(text, 0)
    return text


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Lets argparse show the message of a `UsageError`."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def config_from(namespace: argparse.Namespace) -> JobConfig:
    """Returns the configuration that parsed flags make.

    Raises:
        UsageError: There is no output, or a value is out of range.
    """
    # The parser does not ask for it: a slip such as --ouput is told first.
    if namespace.output is None:
        raise UsageError("--output is missing: see diptych build --help")
    names = [field.name for field in dataclasses.fields(JobConfig) if field.init]
    return JobConfig(**{name: getattr(namespace, name) for name in names})


def check_beam_args(args: list[str], ours: argparse.ArgumentParser) -> None:
    """Refuses flags that Beam does not know either; Beam itself would only warn.

    Raises:
        UsageError: Names the flag, and the one that was probably meant.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = argparse.ArgumentParser(allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        # The hook that Beam documents for declaring options.
        options._add_argparse_args(beam)
    _, unknown = beam.parse_known_args(args)
    if not unknown:
        return
    flag = unknown[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(
            f'unexpected argument "{flag}": flags are written --name=value'
        )
    known = [*flags_of(ours), *flags_of(beam)]
    hint = did_you_mean(flag, known, "see diptych build --help")
    raise UsageError(f"unknown flag {flag}: {hint}")
