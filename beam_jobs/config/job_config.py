"""The job's configuration: one frozen value, checked when it is made."""

import codecs
import dataclasses
import functools
import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from beam_jobs.config.job_settings import JobSettings
from beam_jobs.config.settings import SOURCES, defaults_of, settings_of
from beam_jobs.config.tokenizer_file import TokenizerIdentity, read_tokenizer_file
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


@dataclass(frozen=True, kw_only=True)
class JobConfig(JobSettings):
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

    Raises:
        UsageError: A value is out of range; it is named and shown.
    """

    def __post_init__(self) -> None:
        """Checks every value; reads no file."""
        self._check_declared()
        self._check_texts()
        self._check_together()
        self._check_source()

    def _check_declared(self) -> None:
        """Checks each value against what its field declares."""
        for field, declared in settings_of(type(self)).items():
            value = getattr(self, field)
            if declared.choices:
                check_choice(field, value, declared.choices)
            if declared.at_least is not None or declared.at_most is not None:
                check_range(field, value, declared.at_least, declared.at_most)
            if declared.is_path:
                check_path(field, value)

    def _check_texts(self) -> None:
        check_not_empty("output", self.output)
        allowed(self.max_rejects, 0)
        allowed(self.max_unpaired, 0)
        check_splits(self.shares)
        check_encoding(self.caption_encoding)
        for field in ("name", "description", "license", "citation"):
            check_text(field, getattr(self, field))
        check_version("dataset_version", self.dataset_version)
        check_url("url", self.url)
        check_date("date_published", self.date_published)

    def _check_together(self) -> None:
        """Checks values that depend on others, or on this machine."""
        splits = len(self.splits)
        check_range("num_shards", self.num_shards, splits, why=" (one for each split)")
        # Each takes 200 MB before it has read a single image.
        check_range("workers", self.workers, at_most=4 * num_cores())
        for other in ("plan_only", "overwrite"):
            if self.repair and getattr(self, other):
                raise UsageError(f"repair and {other} exclude each other")
        if self.split_column is not None and (
            self.split_by != "key" or list(self.splits) != ["train"]
        ):
            raise UsageError(
                "split_column names the splits itself: leave out splits and split_by"
            )
        defaults = defaults_of(type(self))
        for field in ("vocab_size", "min_count") if self.tokenizer != "basic" else ():
            value = getattr(self, field)
            if value != defaults[field]:
                raise UsageError(
                    f"{field} is of the basic tokenizer, whose words are counted: with "
                    f"--tokenizer={self.tokenizer} leave it out, got {value}"
                )

    def _check_source(self) -> None:
        """Checks that the fields name one source, and nothing that it has not."""
        kinds = {
            field: declared
            for field, declared in settings_of(type(self)).items()
            if declared.images is not None and getattr(self, field) is not None
        }
        if len(kinds) > 1:
            one, other, *_ = kinds
            raise UsageError(f"{one} and {other} exclude each other: name one")
        (field, declared) = next(iter(kinds.items()), (None, None))
        needs_images = declared is None or declared.images == "required"
        if self.images is None and needs_images:
            raise UsageError("images must be given: the folder of images")
        if declared is None:
            return
        if self.images is not None and declared.images == "excluded":
            raise UsageError(f"images and {field} exclude each other: name one")
        if self.reads_columns and not declared.has_columns:
            raise UsageError(
                "columns need a table: folders of captions have none, use table, coco "
                "or webdataset"
            )
        if self.coco is not None and self.caption_column is not None:
            raise UsageError("caption_column is of a table: COCO calls it caption")

    @functools.cached_property
    def tokenizer_file(self) -> TokenizerIdentity:
        """Kind and checksum of what `tokenizer` names: its content shapes the output.

        Reads the file once. A job asks before its work begins; workers are sent the
        answer and never look for the file.

        Raises:
            UsageError: There is no such file, or it is of no known kind.
        """
        return read_tokenizer_file(self.tokenizer).identity

    @property
    def tokenizer_kind(self) -> str:
        """Kind of the tokenizer, as the manifest names it."""
        return self.tokenizer_file.kind

    @property
    def tokenizer_sha256(self) -> str:
        """Hex digest of the tokenizer's file; empty for `basic`, which has none yet."""
        return self.tokenizer_file.sha256

    @property
    def counts_words(self) -> bool:
        """Whether the job makes the vocabulary, from the captions."""
        return self.tokenizer_kind == "basic"

    def absolute(self) -> "JobConfig":
        """Returns the same, with paths that mean the same in any folder."""
        paths = {
            field: absolute(path)
            for field, declared in settings_of(type(self)).items()
            if declared.is_path and (path := getattr(self, field)) is not None
        }
        roots = tuple(map(absolute, self.allow_roots))
        return dataclasses.replace(self, **paths, allow_roots=roots)

    @property
    def sources(self) -> list[str]:
        """The files and folders that are read."""
        paths = (
            getattr(self, field)
            for field, declared in settings_of(type(self)).items()
            if declared.is_path and declared.group == SOURCES
        )
        return [path for path in paths if path is not None]

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
        declared = settings_of(type(self)).items()
        return About(
            **{
                setting.about: getattr(self, field)
                for field, setting in declared
                if setting.about is not None
            }
        )

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
        declared = settings_of(type(self))
        fields = {
            field: getattr(self, field)
            for field, setting in declared.items()
            if setting.changes_output
        }
        fields["columns"] = [column.spec for column in self.columns]
        fields["caption_encoding"] = codecs.lookup(self.caption_encoding).name
        # In order: the order of splits is the order of shards in the index.
        fields["splits"] = [[name, str(share)] for name, share in self.shares.items()]
        fields["tokenizer"] = self.tokenizer_kind
        if self.counts_words:
            unused = []
        else:
            fields["tokenizer_sha256"] = self.tokenizer_sha256
            unused = ["vocab_size", "min_count"]
        # Datasets of before these fields existed have the same fingerprint.
        defaults = defaults_of(type(self))
        unused += [
            field
            for field, setting in declared.items()
            if setting.about is not None and fields[field] == defaults[field]
        ]
        for field in unused + (["shard_size"] if self.num_shards is not None else []):
            del fields[field]
        return fields
