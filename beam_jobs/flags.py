"""The flags of `diptych build`, and how they become a `JobConfig`.

Spelled with underscores as Beam's are; dashes are accepted too. Beam's own flags pass
through; a flag that neither side knows is an error.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from beam_jobs.options import (
    CAPTIONS_PER_FILE,
    IMAGE_FORMATS,
    RESIZE_MODES,
    JobConfig,
    allowed,
    parse_size,
    parse_splits,
)
from reader.contract.errors import UsageError

_EXAMPLES = """\
examples:
  diptych build --images=photos --captions=photos --output=out
  diptych build --images=photos --captions=texts --output=out \\
      --splits=train=0.98,validation=0.02 --image_size=288 --shard_size=256MiB
  diptych build --images=photos --captions=texts --output=out --plan_only

Flags of Apache Beam pass through, such as --runner=FlinkRunner.
"""


def underscored(args: list[str]) -> list[str]:
    """Returns arguments with flags spelled with underscores: `--image-size=9` too."""
    return [_underscored(arg) if arg.startswith("--") else arg for arg in args]


def _underscored(arg: str) -> str:
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def add_build_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command `build` with its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build",
        help="turn folders of images and captions into a dataset",
        description="Turns folders of images and captions into sharded TFRecords.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_files(parser)
    _add_splits_and_shards(parser)
    _add_images_and_captions(parser)
    _add_limits_and_resources(parser)
    return parser


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(JobConfig)}


def _add(group: Any, name: str, help: str, **more: Any) -> None:
    """Adds the flag of a field of `JobConfig`, with that field's default."""
    group.add_argument(f"--{name}", help=help, default=_DEFAULTS[name], **more)


def _add_files(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("input and output")
    for name, help in (
        ("images", "folder of images, at any depth"),
        ("captions", "folder of captions (.txt, .caption); may be the same"),
        ("output", "the dataset's folder; new, or that of an unfinished job"),
    ):
        files.add_argument(f"--{name}", required=True, metavar="DIR", help=help)
    _add(files, "name", "the dataset's name (%(default)s)")
    _add(
        files,
        "overwrite",
        "replace the dataset that --output holds",
        action="store_true",
    )
    _add(
        files,
        "plan_only",
        "pair the files and show the plan; write nothing",
        action="store_true",
    )


def _add_splits_and_shards(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group("splits and shards")
    plan.add_argument(
        "--splits",
        metavar="NAME=SHARE,…",
        type=_typed(parse_splits),
        help="such as train=0.9,validation=0.1 (train=1)",
        default={"train": 1},
    )
    _add(plan, "num_shards", "shards over all splits (by --shard_size)", type=int)
    _add(
        plan,
        "shard_size",
        "about how large a shard is (128MiB)",
        type=_typed(parse_size),
    )
    _add(plan, "seed", "of order and splits (%(default)s)", type=int)


def _add_images_and_captions(parser: argparse.ArgumentParser) -> None:
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
    )
    _add(images, "min_image_size", "leave out if a side is shorter", type=int)
    _add(
        images,
        "max_aspect_ratio",
        "leave out if one side is more than so many times the other",
        type=float,
    )

    captions = parser.add_argument_group("captions")
    _add(
        captions,
        "captions_per_file",
        "a file is one caption, or each of its lines is (%(default)s)",
        choices=CAPTIONS_PER_FILE,
    )
    _add(
        captions, "vocab_size", "words and four special tokens (%(default)s)", type=int
    )
    _add(captions, "min_count", "a word must occur so often (%(default)s)", type=int)


def _add_limits_and_resources(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits: a count, or a percentage of all keys")
    limit = _typed(_limit)
    _add(limits, "max_rejects", "fail if more are rejected (1%%)", type=limit)
    _add(
        limits, "max_unpaired", "fail if more lack image or caption (10%%)", type=limit
    )

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
        UsageError: A value is out of range.
    """
    names = [field.name for field in dataclasses.fields(JobConfig)]
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
    near = difflib.get_close_matches(flag, [*_flags(ours), *_flags(beam)], n=1)
    hint = f"did you mean {near[0]}?" if near else "see diptych build --help"
    raise UsageError(f"unknown flag {flag}: {hint}")


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]
