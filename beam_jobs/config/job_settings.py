"""Declares each field of JobConfig once. START HERE for a new setting.

A declaration holds the field's default, its flag, its bounds and whether it changes the
output. The meaning is documented in `beam_jobs.config.job_config.JobConfig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from beam_jobs.config.caption_names import parse_caption_files, parse_list
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
from beam_jobs.config.values import (
    allowed,
    parse_delimiter,
    parse_size,
    parse_splits,
)
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
TABLE_QUOTING = ("auto", "csv", "none")
SPLIT_BY = ("key", "folder", "content")
DEDUPE = ("none", "exact")

# Shard file names have five digits for the number.
_MOST_SHARDS = 99_999
_MOST_THREADS = 256


def _parse_folders(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _parse_limit(text: str) -> str:
    allowed(text, 0)
    return text


def _source(help: str, metavar: str, **declared: Any) -> Any:
    """Declares the paths of a source, which do not change the output."""
    return setting(
        SOURCES,
        help,
        None,
        metavar=metavar,
        is_path=True,
        several=True,
        changes_output=False,
        **declared,
    )


def _column(help: str, **declared: Any) -> Any:
    return setting(COLUMNS, help, None, metavar="NAME", **declared)


def _action(help: str) -> Any:
    """Declares an action of the job, which does not change the output."""
    return setting(OUTPUT, help, False, changes_output=False)


def _whole(group: str, help: str, default: int | None, **declared: Any) -> Any:
    """Declares an integer that is at least 1 by default."""
    return setting(group, help, default, parse=int, **{"at_least": 1, **declared})


_limit = partial(
    setting, LIMITS, metavar="N|N%", parse=_parse_limit, changes_output=False
)
_machine = partial(_whole, MACHINE, default=None, changes_output=False)


def _about(name: str, help: str, metavar: str, default: str | None = None) -> Any:
    return setting(ABOUT, help, default, metavar=metavar, about=name)


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Fields of `JobConfig`, in the order of `diptych build --help`."""

    images: str | Sequence[str] | None = _source(
        "folder of images, at any depth", "DIR"
    )
    captions: str | Sequence[str] | None = _source(
        "folder of captions (.txt, .caption); may be the same folder",
        "DIR",
        images="required",
    )
    table: str | Sequence[str] | None = _source(
        "CSV, TSV, JSONL or Parquet file that names images or, in Parquet, holds them",
        "FILE",
        images="optional",
    )
    coco: str | Sequence[str] | None = _source(
        "captions in COCO's JSON format, or Karpathy's split file; with --images",
        "FILE",
        images="required",
    )
    webdataset: str | Sequence[str] | None = _source(
        "tar files; quote the glob", "GLOB", images="excluded"
    )
    dataset: str | Sequence[str] | None = _source(
        "finished dataset, whose settings are carried over unless given",
        "DIR",
        images="excluded",
    )

    image_column: str | None = _column(
        "column of image names, or of images (detected: file_name, image, …)",
        reads_files=True,
    )
    caption_column: str | None = _column(
        "column of captions (detected: caption, text, …)", reads_files=True
    )
    caption_columns: tuple[str, ...] = setting(
        COLUMNS,
        "several columns of captions, whose names each caption keeps",
        (),
        metavar="NAME,…",
        parse=parse_list,
        since_format_1=True,
        reads_files=True,
    )
    table_delimiter: str | None = setting(
        COLUMNS,
        "character between cells, such as ';' or tab (from the name of the table)",
        None,
        metavar="CHAR",
        parse=parse_delimiter,
        since_format_1=True,
        reads_files=True,
    )
    table_quoting: str = setting(
        COLUMNS,
        "whether quotes enclose cells, as in CSV (%(default)s)",
        "auto",
        choices=TABLE_QUOTING,
        since_format_1=True,
        reads_files=True,
    )
    key_column: str | None = _column(
        "column of keys (derived from the image names)", reads_files=True
    )
    split_column: str | None = _column("column that names splits; replaces --splits")
    columns: tuple[Column, ...] = setting(
        COLUMNS,
        "store as extra/…, such as score:float,url:str,emb:float16[512],label:int=-1",
        (),
        metavar="NAME:TYPE,…",
        parse=parse_columns,
    )
    where: str | None = setting(
        COLUMNS,
        "write only what meets a condition, such as 'extra/score > 0.3'",
        None,
        metavar="CONDITION",
        since_format_1=True,
    )
    where_columns: tuple[Column, ...] = setting(
        COLUMNS,
        "columns that only --where uses; not stored",
        (),
        metavar="NAME:TYPE,…",
        parse=parse_columns,
        since_format_1=True,
    )
    allow_roots: tuple[str, ...] = setting(
        COLUMNS,
        "folders, besides --images, from which a table may name images",
        (),
        metavar="DIR,…",
        parse=_parse_folders,
        changes_output=False,
        reads_files=True,
    )

    # Declared with `field` itself, so type checkers know that it is required.
    output: str = field(
        metadata=metadata_of(
            OUTPUT,
            "folder of the dataset; new, or the folder of an unfinished job",
            metavar="DIR",
            is_path=True,
            changes_output=False,
        )
    )
    name: str = setting(OUTPUT, "name of the dataset (%(default)s)", "diptych")
    overwrite: bool = _action("replace the dataset that --output holds")
    repair: bool = _action(
        "check every byte of finished files and rewrite damaged ones"
    )
    take_over: bool = _action(
        "resume a job that died without releasing its output in a bucket"
    )
    plan_only: bool = _action("pair the files and show the plan, but write nothing")

    splits: Mapping[str, Fraction | float] = setting(
        SPLITS,
        "share of each split, such as train=0.9,validation=0.1 (train=1)",
        default_factory=lambda: {"train": Fraction(1)},
        metavar="NAME=SHARE,…",
        parse=parse_splits,
    )
    split_by: str = setting(
        SPLITS,
        "value that decides the split; content is the image file (%(default)s)",
        "key",
        choices=SPLIT_BY,
    )
    exclude_keys: str | None = setting(
        SPLITS,
        "leave out the keys in a text file, one key a line",
        None,
        metavar="FILE",
        is_path=True,
        changes_output=False,  # The keys in the file do: see `fingerprint_fields`.
    )
    dedupe: str = setting(
        SPLITS,
        "exact: keep one key of those with equal image files (%(default)s)",
        "none",
        choices=DEDUPE,
    )
    num_shards: int | None = _whole(
        SPLITS,
        "number of shards over all splits (from --shard_size)",
        None,
        at_least=None,  # JobConfig requires one for each split.
        at_most=_MOST_SHARDS,
    )
    shard_size: int = setting(
        SPLITS,
        "approximate size of a shard (128MiB)",
        128 << 20,
        metavar="SIZE",
        parse=parse_size,
        at_least=1 << 10,
    )
    seed: int = _whole(
        SPLITS, "seed of the order and the splits (%(default)s)", 0, at_least=None
    )

    resize: str = setting(
        IMAGES,
        "how images are resized to --image_size (%(default)s)",
        "shorter_side",
        choices=RESIZE_MODES,
    )
    image_size: int = _whole(
        IMAGES, "size in pixels; smaller images keep their size (%(default)s)", 256
    )
    upscale: bool = setting(IMAGES, "enlarge smaller images too", False)
    image_format: str = setting(
        IMAGES,
        "format of stored images (%(default)s)",
        "jpeg",
        choices=tuple(STORED_FORMATS),
    )
    jpeg_quality: int = _whole(
        IMAGES, "JPEG quality, 1 to 100 (%(default)s)", 90, at_most=100
    )
    jpeg_subsampling: str = setting(
        IMAGES, "chroma subsampling (%(default)s)", "420", choices=JPEG_SUBSAMPLING
    )
    max_pixels: int = _whole(
        IMAGES, "reject larger images before decoding (%(default)s)", 100_000_000
    )
    max_image_bytes: int = setting(
        IMAGES,
        "reject larger image files before reading (256MiB)",
        256 << 20,
        metavar="SIZE",
        parse=parse_size,
        at_least=1,
    )
    min_image_size: int = _whole(
        IMAGES, "leave out images with a side of fewer pixels (%(default)s)", 1
    )
    max_aspect_ratio: float | None = setting(
        IMAGES,
        "leave out images with a larger ratio of longer to shorter side (no limit)",
        None,
        parse=float,
        at_least=1,
    )

    caption_names: tuple[str, ...] = setting(
        CAPTIONS,
        "names of captions: those that JSON gives them, or one for each of "
        "--caption_columns",
        (),
        metavar="NAME,…",
        parse=parse_list,
        since_format_1=True,
        reads_files=True,
    )
    caption_files: Mapping[str, str] = setting(
        CAPTIONS,
        "several caption files of an image, by suffix, such as "
        "alt:.txt,recap:.recap.txt",
        default_factory=dict,
        metavar="NAME:SUFFIX,…",
        parse=parse_caption_files,
        since_format_1=True,
        reads_files=True,
    )
    captions_per_file: str = setting(
        CAPTIONS,
        "one caption per file, or one per line (%(default)s)",
        "one",
        choices=CAPTIONS_PER_FILE,
        reads_files=True,
    )
    caption_encoding: str = setting(
        CAPTIONS,
        "encoding of captions and tables without a byte order mark (%(default)s)",
        "utf-8",
        metavar="NAME",
        reads_files=True,
    )
    tokenizer: str = setting(
        CAPTIONS,
        "basic, bytes, a tokenizer.json, SentencePiece model or CLIP's merges, or a "
        "dataset whose tokenizer to take over (%(default)s)",
        "basic",
        metavar="KIND|FILE|DATASET",
    )
    vocab_size: int = _whole(
        CAPTIONS,
        "largest vocabulary that basic counts, with four special tokens (%(default)s)",
        10_000,
        at_least=5,
    )
    min_count: int = _whole(
        CAPTIONS, "fewest occurrences of a word that basic counts (%(default)s)", 1
    )
    min_tokens: int = _whole(
        CAPTIONS,
        "drop captions of fewer tokens (%(default)s)",
        0,
        at_least=0,
        since_format_1=True,
    )

    max_rejects: str | int = _limit("fail if more keys are rejected (1%%)", "1%")
    max_unpaired: str | int = _limit(
        "fail if more keys lack an image or a caption (10%%)", "10%"
    )

    workers: int | None = _machine("worker processes (from the number of cores)")
    threads: int | None = _machine(
        "threads in each process (from the number of cores)", at_most=_MOST_THREADS
    )

    dataset_version: str = _about(
        "version", "version of the dataset (%(default)s)", "X.Y.Z", "1.0.0"
    )
    description: str | None = _about(
        "description", "description of the dataset (a summary of its size)", "TEXT"
    )
    license: str | None = _about("license", "license of the dataset", "NAME|URL")
    url: str | None = _about("url", "web page of the dataset", "URL")
    citation: str | None = _about(
        "citation", "citation of the dataset, preferably BibTeX", "TEXT"
    )
    date_published: str | None = _about(
        "date_published", "date of publication", "YYYY-MM-DD"
    )
