"""START HERE for a new setting: each field of JobConfig, declared once.

A field's declaration holds its default, its flag, its bounds and whether it changes the
output. What it means is said in `beam_jobs.config.job_config.JobConfig`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from beam_jobs.config.columns import Column, parse_columns
from beam_jobs.config.settings import (
    ABOUT,
    CAPTIONS,
    COLUMNS,
    IMAGES,
    LIMITS,
    MACHINE,
    OUTPUT,
    SOURCES,
    SPLITS,
    metadata_of,
    setting,
)
from beam_jobs.config.values import allowed, parse_size, parse_splits
from reader.contract.schema import STORED_FORMATS

RESIZE_MODES = (
    "shorter_side",
    "longer_side",
    "area",
    "crop",
    "pad",
    "stretch",
    "none",
)
JPEG_SUBSAMPLING = ("420", "444")
CAPTIONS_PER_FILE = ("one", "lines")
SPLIT_BY = ("key", "folder", "content")
DEDUPE = ("none", "exact")

# Shard names have five digits for it.
_MOST_SHARDS = 99_999
_MOST_THREADS = 256


def _parse_folders(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _parse_limit(text: str) -> str:
    allowed(text, 0)
    return text


def _source(help: str, metavar: str, **declared: Any) -> Any:
    """A source's files; where they are does not change the output."""
    return setting(
        SOURCES,
        help,
        None,
        metavar=metavar,
        is_path=True,
        changes_output=False,
        **declared,
    )


def _column(help: str) -> Any:
    return setting(COLUMNS, help, None, metavar="NAME")


def _action(help: str) -> Any:
    """What the job is asked to do; the dataset it makes is the same."""
    return setting(OUTPUT, help, False, changes_output=False)


def _whole(group: str, help: str, default: int | None, **declared: Any) -> Any:
    """A whole number, 1 at least unless it says otherwise."""
    return setting(group, help, default, parse=int, **{"at_least": 1, **declared})


_limit = partial(
    setting, LIMITS, metavar="N|N%", parse=_parse_limit, changes_output=False
)
_machine = partial(_whole, MACHINE, default=None, changes_output=False)


def _about(name: str, help: str, metavar: str, default: str | None = None) -> Any:
    return setting(ABOUT, help, default, metavar=metavar, about=name)


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The fields of `JobConfig`, in the order of `diptych build --help`."""

    images: str | None = _source("folder of images, at any depth", "DIR")
    captions: str | None = _source(
        "folder of captions (.txt, .caption); may be the same",
        "DIR",
        images="required",
        has_columns=False,
    )
    table: str | None = _source(
        "CSV, TSV, JSONL or Parquet that names images; or a glob",
        "FILE",
        images="optional",
    )
    coco: str | None = _source(
        "captions as COCO has them, images in --images", "FILE", images="required"
    )
    webdataset: str | None = _source("tars; quote the glob", "GLOB", images="excluded")

    image_column: str | None = _column(
        "names images (by usual names: file_name, image, …)"
    )
    caption_column: str | None = _column("captions (by usual names: caption, text, …)")
    key_column: str | None = _column("keys (by the images' names)")
    split_column: str | None = _column("names splits, in place of --splits")
    columns: tuple[Column, ...] = setting(
        COLUMNS,
        "carried through as extra/…: score:float,url:str,emb:float[512],label:int=-1",
        (),
        metavar="NAME:TYPE,…",
        parse=parse_columns,
    )
    allow_roots: tuple[str, ...] = setting(
        COLUMNS,
        "folders that a table may name images in, besides --images",
        (),
        metavar="DIR,…",
        parse=_parse_folders,
        changes_output=False,
    )

    # By `field` itself: type checkers then know that it must be given.
    output: str = field(
        metadata=metadata_of(
            OUTPUT,
            "the dataset's folder; new, or that of an unfinished job",
            metavar="DIR",
            is_path=True,
            changes_output=False,
        )
    )
    name: str = setting(OUTPUT, "the dataset's name (%(default)s)", "diptych")
    overwrite: bool = _action("replace the dataset that --output holds")
    repair: bool = _action(
        "check every byte of what is finished, and write again what is damaged"
    )
    take_over: bool = _action(
        "resume a job on an output in a bucket that died without releasing it"
    )
    plan_only: bool = _action("pair the files and show the plan; write nothing")

    splits: Mapping[str, Fraction | float] = setting(
        SPLITS,
        "such as train=0.9,validation=0.1 (train=1)",
        default_factory=lambda: {"train": Fraction(1)},
        metavar="NAME=SHARE,…",
        parse=parse_splits,
    )
    split_by: str = setting(
        SPLITS,
        "what decides on the split; content is the image's file (%(default)s)",
        "key",
        choices=SPLIT_BY,
    )
    dedupe: str = setting(
        SPLITS,
        "exact: of keys with equal image files, keep one (%(default)s)",
        "none",
        choices=DEDUPE,
    )
    num_shards: int | None = _whole(
        SPLITS,
        "shards over all splits (by --shard_size)",
        None,
        at_least=None,  # One for each split.
        at_most=_MOST_SHARDS,
    )
    shard_size: int = setting(
        SPLITS,
        "about how large a shard is (128MiB)",
        128 << 20,
        metavar="SIZE",
        parse=parse_size,
        at_least=1 << 10,
    )
    seed: int = _whole(SPLITS, "of order and splits (%(default)s)", 0, at_least=None)

    resize: str = setting(
        IMAGES,
        "what --image_size refers to (%(default)s)",
        "shorter_side",
        choices=RESIZE_MODES,
    )
    image_size: int = _whole(
        IMAGES, "pixels; smaller images stay as they are (%(default)s)", 256
    )
    upscale: bool = setting(IMAGES, "enlarge smaller images too", False)
    image_format: str = setting(
        IMAGES,
        "how images are stored (%(default)s)",
        "jpeg",
        choices=tuple(STORED_FORMATS),
    )
    jpeg_quality: int = _whole(IMAGES, "1 to 100 (%(default)s)", 90, at_most=100)
    jpeg_subsampling: str = setting(
        IMAGES, "of chroma (%(default)s)", "420", choices=JPEG_SUBSAMPLING
    )
    max_pixels: int = _whole(
        IMAGES, "reject larger images undecoded (%(default)s)", 100_000_000
    )
    max_image_bytes: int = setting(
        IMAGES,
        "reject larger image files unread (256MiB)",
        256 << 20,
        metavar="SIZE",
        parse=parse_size,
        at_least=1,
    )
    min_image_size: int = _whole(IMAGES, "leave out if a side is shorter", 1)
    max_aspect_ratio: float | None = setting(
        IMAGES,
        "leave out if one side is more than so many times the other",
        None,
        parse=float,
        at_least=1,
    )

    captions_per_file: str = setting(
        CAPTIONS,
        "a file is one caption, or each of its lines is (%(default)s)",
        "one",
        choices=CAPTIONS_PER_FILE,
    )
    caption_encoding: str = setting(
        CAPTIONS,
        "of captions and tables without a byte order mark (%(default)s)",
        "utf-8",
        metavar="NAME",
    )
    tokenizer: str = setting(
        CAPTIONS,
        "basic, bytes, or a tokenizer.json, SentencePiece model or CLIP's merges "
        "(%(default)s)",
        "basic",
        metavar="KIND|FILE",
    )
    vocab_size: int = _whole(
        CAPTIONS,
        "words and four special tokens of basic (%(default)s)",
        10_000,
        at_least=5,
    )
    min_count: int = _whole(CAPTIONS, "a word must occur so often (%(default)s)", 1)

    max_rejects: str | int = _limit("fail if more are rejected (1%%)", "1%")
    max_unpaired: str | int = _limit("fail if more lack image or caption (10%%)", "10%")

    workers: int | None = _machine("processes (by the number of cores)")
    threads: int | None = _machine(
        "threads of each process (by the cores)", at_most=_MOST_THREADS
    )

    dataset_version: str = _about(
        "version", "its version (%(default)s)", "X.Y.Z", "1.0.0"
    )
    description: str | None = _about(
        "description", "what it is (how much it holds)", "TEXT"
    )
    license: str | None = _about("license", "its license", "NAME|URL")
    url: str | None = _about("url", "its page", "URL")
    citation: str | None = _about("citation", "how to cite it, best as BibTeX", "TEXT")
    date_published: str | None = _about(
        "date_published", "when it was published", "YYYY-MM-DD"
    )
