"""The job's configuration: one frozen value, checked when it is made."""

import codecs
import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from beam_jobs.config.columns import Column
from beam_jobs.config.tokenizer_file import read_tokenizer_file
from beam_jobs.config.values import (
    allowed,
    check_choice,
    check_date,
    check_encoding,
    check_not_empty,
    check_path,
    check_range,
    check_splits,
    check_text,
    check_url,
    check_version,
)
from beam_jobs.storage.files import REQUESTS, absolute, is_remote
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.json_values import dump_json
from reader.contract.manifest import About, ImageSpec

RESIZE_MODES = (
    "shorter_side",
    "longer_side",
    "area",
    "crop",
    "pad",
    "stretch",
    "none",
)
IMAGE_FORMATS = ("jpeg", "png", "raw")
JPEG_SUBSAMPLING = ("420", "444")
CAPTIONS_PER_FILE = ("one", "lines")
SPLIT_BY = ("key", "folder", "content")
DEDUPE = ("none", "exact")

_CHOICES = {
    "resize": RESIZE_MODES,
    "image_format": IMAGE_FORMATS,
    "jpeg_subsampling": JPEG_SUBSAMPLING,
    "captions_per_file": CAPTIONS_PER_FILE,
    "split_by": SPLIT_BY,
    "dedupe": DEDUPE,
}

# What the names of shards have digits for.
_MOST_SHARDS = 99_999

# How a job runs and where, what it is held to, and what it is asked to do: none of it
# changes a byte of the output.
_OUTSIDE_FINGERPRINT = (
    "images",
    "captions",
    "table",
    "coco",
    "webdataset",
    "allow_roots",
    "output",
    "max_rejects",
    "max_unpaired",
    "workers",
    "threads",
    "plan_only",
    "overwrite",
    "repair",
    "take_over",
)

# What is said of the dataset, as flags and fields of `JobConfig`.
_ABOUT = {
    "dataset_version": "version",
    "description": "description",
    "license": "license",
    "url": "url",
    "citation": "citation",
    "date_published": "date_published",
}


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """What to build, from what, and how.

    Attributes:
        images: Folder of images.
        captions: Folder of captions; may be the same.
        table: CSV, TSV, JSONL or Parquet file that names images, or a glob.
        coco: JSON file of captions as COCO has it, or a glob.
        webdataset: Glob of tars.
        output: The dataset's folder.
        image_column: Of a table; None to go by the usual names.
        caption_column: Of a table, or of WebDataset's JSON; likewise.
        key_column: Column that holds keys; None to go by the images' names.
        split_column: Column that names splits, in place of `splits`.
        columns: Columns that are carried through, as `extra/<name>`.
        allow_roots: Folders that a table may name images in, by absolute path.
        name: The dataset's name, for its manifest.
        dataset_version: `major.minor.patch`. This and what follows, up to
            `date_published`, is said to other tools; None where nobody says.
        description: What the dataset is; None for how much it holds.
        license: Its name or address.
        url: Where its page is.
        citation: How to cite it, best as BibTeX.
        date_published: `YYYY-MM-DD`.
        splits: `{name: share}`; the shares sum to 1, as decimals: 0.7, 0.2 and 0.1 do.
        split_by: What decides on the split: `key`, `folder` (of the key), or `content`
            (of the image's file).
        dedupe: `exact` to keep one key of those whose image files are equal.
        num_shards: Shards over all splits; None to go by `shard_size`.
        shard_size: About how large a shard is to be, in bytes.
        seed: Of the records' order and of the splits.
        resize: One of `RESIZE_MODES`: see docs/format.md#sizes.
        image_size: What `resize` refers to, in pixels.
        upscale: Whether smaller images are enlarged.
        image_format: How images are stored: `jpeg`, `png` or `raw`.
        jpeg_quality: 1 to 100.
        jpeg_subsampling: `420` or `444`.
        max_pixels: An image with more is rejected before it is decoded.
        max_image_bytes: A larger image file is rejected before it is read, in bytes.
        min_image_size: An image with a side of fewer pixels is filtered out, undecoded.
        max_aspect_ratio: An image whose longer side is more than so many times the
            shorter one is filtered out, undecoded; None for no limit.
        captions_per_file: `one`, or `lines` if each line is a caption.
        caption_encoding: Of captions and tables without a byte order mark.
        tokenizer: `basic`, `bytes`, or the path of a tokenizer's file, whose content
            tells of what kind it is.
        vocab_size: At most so many ids of the `basic` tokenizer, its four special ones
            included.
        min_count: A word must occur so often to enter the vocabulary.
        max_rejects: How many keys may be rejected before the job fails: a count, or
            a percentage of all keys such as `0.5%`.
        max_unpaired: How many keys may lack their image or caption, likewise.
        workers: Processes on this machine; None to go by its cores.
        threads: Threads a process encodes with; None to go by the cores.
        plan_only: Whether to stop after planning.
        overwrite: Whether to replace what the output holds.
        repair: Whether to check the bytes of what is finished, and to write damaged
            files again.
        take_over: Whether to end the lease of another job on an output in a bucket.
        tokenizer_kind: What `tokenizer` was found to be.
        tokenizer_sha256: Of its file; empty for `basic`, which has none yet.

    Raises:
        UsageError: A value is out of range; it is named and shown.
    """

    output: str
    images: str | None = None
    captions: str | None = None
    table: str | None = None
    coco: str | None = None
    webdataset: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    key_column: str | None = None
    split_column: str | None = None
    columns: tuple[Column, ...] = ()
    allow_roots: tuple[str, ...] = ()
    name: str = "diptych"
    dataset_version: str = "1.0.0"
    description: str | None = None
    license: str | None = None
    url: str | None = None
    citation: str | None = None
    date_published: str | None = None
    splits: Mapping[str, Fraction | float] = dataclasses.field(
        default_factory=lambda: {"train": Fraction(1)}
    )
    split_by: str = "key"
    dedupe: str = "none"
    num_shards: int | None = None
    shard_size: int = 128 << 20
    seed: int = 0
    resize: str = "shorter_side"
    image_size: int = 256
    upscale: bool = False
    image_format: str = "jpeg"
    jpeg_quality: int = 90
    jpeg_subsampling: str = "420"
    max_pixels: int = 100_000_000
    max_image_bytes: int = 256 << 20
    min_image_size: int = 1
    max_aspect_ratio: float | None = None
    captions_per_file: str = "one"
    caption_encoding: str = "utf-8"
    tokenizer: str = "basic"
    vocab_size: int = 10_000
    min_count: int = 1
    max_rejects: str | int = "1%"
    max_unpaired: str | int = "10%"
    workers: int | None = None
    threads: int | None = None
    plan_only: bool = False
    overwrite: bool = False
    repair: bool = False
    take_over: bool = False
    tokenizer_kind: str = dataclasses.field(init=False)
    tokenizer_sha256: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Checks every value."""
        self._check_values()
        self._check_about()
        self._check_numbers()
        self._check_source()
        self._check_actions()
        self._look_at_tokenizer()

    def _check_values(self) -> None:
        allowed(self.max_rejects, 0)
        allowed(self.max_unpaired, 0)
        check_splits(self.shares)
        check_encoding(self.caption_encoding)
        for field, choices in _CHOICES.items():
            check_choice(field, getattr(self, field), choices)
        for field in ("images", "captions", "table", "coco", "webdataset", "output"):
            check_path(field, getattr(self, field))
        check_not_empty("output", self.output)

    def _check_about(self) -> None:
        for field in ("name", "description", "license", "citation"):
            check_text(field, getattr(self, field))
        check_version("dataset_version", self.dataset_version)
        check_url("url", self.url)
        check_date("date_published", self.date_published)

    def _check_numbers(self) -> None:
        check_range("num_shards", self.num_shards, at_most=_MOST_SHARDS)
        splits = len(self.splits)
        check_range("num_shards", self.num_shards, splits, why=" (one for each split)")
        check_range("shard_size", self.shard_size, 1 << 10)
        check_range("vocab_size", self.vocab_size, 5)
        for field in (
            "image_size",
            "max_pixels",
            "max_image_bytes",
            "min_image_size",
            "max_aspect_ratio",
            "min_count",
        ):
            check_range(field, getattr(self, field), 1)
        if not 1 <= self.jpeg_quality <= 100:
            raise UsageError(
                f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}"
            )
        # Each takes 200 MB before it has read a single image.
        check_range("workers", self.workers, 1, 4 * num_cores())
        check_range("threads", self.threads, 1, 256)

    def _look_at_tokenizer(self) -> None:
        """Notes what the tokenizer is: not its path but its content shapes the output.

        Workers are sent these notes, and never look for the file.
        """
        file = read_tokenizer_file(self.tokenizer)
        object.__setattr__(self, "tokenizer_kind", file.kind)
        object.__setattr__(self, "tokenizer_sha256", file.sha256)
        if self.counts_words:
            return
        for field in ("vocab_size", "min_count"):
            value = getattr(self, field)
            if value != type(self).__dataclass_fields__[field].default:
                raise UsageError(
                    f"{field} is of the basic tokenizer, whose words are counted: with "
                    f"--tokenizer={self.tokenizer} leave it out, got {value}"
                )

    @property
    def counts_words(self) -> bool:
        """Whether the job makes the vocabulary, from the captions."""
        return self.tokenizer_kind == "basic"

    def _check_source(self) -> None:
        """Checks that the fields name one source, and nothing that it has not."""
        named = [
            field
            for field in ("captions", "table", "coco", "webdataset")
            if getattr(self, field) is not None
        ]
        if len(named) > 1:
            raise UsageError(f"{named[0]} and {named[1]} exclude each other: name one")
        if self.images is None and named not in (["table"], ["webdataset"]):
            raise UsageError("images must be given: the folder of images")
        if self.images is not None and self.webdataset is not None:
            raise UsageError("images and webdataset exclude each other: name one")
        if self.captions is not None and self.reads_columns:
            raise UsageError(
                "columns need a table: folders of captions have none, use table, coco "
                "or webdataset"
            )
        if self.coco is not None and self.caption_column is not None:
            raise UsageError("caption_column is of a table: COCO calls it caption")
        if self.split_column is not None and (
            self.split_by != "key" or list(self.splits) != ["train"]
        ):
            raise UsageError(
                "split_column names the splits itself: leave out splits and split_by"
            )

    def _check_actions(self) -> None:
        """Checks that what is asked for makes sense together."""
        for other in ("plan_only", "overwrite"):
            if self.repair and getattr(self, other):
                raise UsageError(f"repair and {other} exclude each other")

    def absolute(self) -> "JobConfig":
        """Returns the same, with paths that mean the same in any folder."""
        fields = ("images", "captions", "table", "coco", "webdataset", "output")
        paths = {
            field: absolute(path)
            for field in fields
            if (path := getattr(self, field)) is not None
        }
        roots = tuple(map(absolute, self.allow_roots))
        return dataclasses.replace(self, **paths, allow_roots=roots)

    @property
    def sources(self) -> list[str]:
        """The files and folders that are read."""
        named = (self.images, self.captions, self.table, self.coco, self.webdataset)
        return [path for path in named if path is not None]

    @property
    def reads_columns(self) -> bool:
        """Whether anything but images and captions is taken from the source."""
        return bool(self.columns or self.key_column or self.split_column)

    @property
    def reads_contents(self) -> bool:
        """Whether planning reads the images."""
        return self.dedupe != "none" or self.split_by == "content"

    @functools.cached_property
    def shares(self) -> dict[str, Fraction]:
        """The splits with exact shares: 0.1 is a tenth."""
        return {name: Fraction(str(share)) for name, share in self.splits.items()}

    @property
    def image_spec(self) -> ImageSpec:
        """How images are stored."""
        return ImageSpec(
            format=self.image_format,
            quality=self.jpeg_quality,
            subsampling=self.jpeg_subsampling,
            resize=self.resize,
            size=self.image_size,
            upscale=self.upscale,
        )

    @property
    def about(self) -> About:
        """What is said of the dataset."""
        return About(**{name: getattr(self, field) for field, name in _ABOUT.items()})

    @property
    def num_workers(self) -> int:
        """Processes on this machine: see docs/performance.md#workers-and-threads."""
        return self.workers or max(1, num_cores() // 8)

    @property
    def num_threads(self) -> int:
        """Threads that each process encodes with."""
        own = max(1, math.ceil(num_cores() / self.num_workers))
        # A thread that waits for a bucket needs no core.
        own = max(own, REQUESTS) if any(map(is_remote, self.sources)) else own
        return self.threads or own

    @property
    def fingerprint(self) -> str:
        """Digest of all that changes the output."""
        return hashlib.sha256(dump_json(self.fingerprint_fields())).hexdigest()

    def fingerprint_fields(self) -> dict[str, Any]:
        """Returns all that changes the output, as plain JSON values."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _OUTSIDE_FINGERPRINT
        }
        fields["columns"] = [column.spec for column in self.columns]
        fields["caption_encoding"] = codecs.lookup(self.caption_encoding).name
        # In order: the order of splits is the order of shards in the index.
        fields["splits"] = [[name, str(share)] for name, share in self.shares.items()]
        fields["tokenizer"] = fields.pop("tokenizer_kind")
        unused = (
            ["tokenizer_sha256"] if self.counts_words else ["vocab_size", "min_count"]
        )
        # Of before there were these: what goes without saying leaves no trace.
        defaults = type(self).__dataclass_fields__
        unused += [name for name in _ABOUT if fields[name] == defaults[name].default]
        for field in unused + (["shard_size"] if self.num_shards is not None else []):
            del fields[field]
        return fields
