"""JobConfig: the frozen configuration of a build, validated when it is made."""

import dataclasses
import functools
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from beam_jobs.config.caption_names import check_caption_files, check_caption_names
from beam_jobs.config.columns import Column
from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.job_settings import JobSettings
from beam_jobs.config.key_file import digest_of_keys, read_keys
from beam_jobs.config.row_filter import RowFilter, row_filter
from beam_jobs.config.settings import defaults_of, settings_of
from beam_jobs.config.values import (
    check_date,
    check_range,
    check_splits,
    check_text,
    check_url,
    check_version,
)
from beam_jobs.storage.files import REQUESTS, absolute, is_remote
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.manifest import About, ImageSpec
from reader.contract.schema import FEATURES, NAMES_OF_CAPTIONS, Feature

# Where a new configuration keeps the names of what was passed until it is initialized.
_PASSED = "_passed"


@dataclass(frozen=True, kw_only=True)
class JobConfig(JobSettings, CommonConfig):
    """Configuration of a build: sources, output and processing options.

    Values are validated when the configuration is made, which reads no file. `run`
    checks the source and the tokenizer before any work. Paths are local paths, where a
    leading `~` stands for the home folder, or addresses in a bucket: `gs://BUCKET/…`,
    `s3://BUCKET/…` or `az://CONTAINER/…`. Each source is a path or a sequence of paths.

    Attributes:
        images: Folder of images, searched at any depth. Required with `captions` and
            `coco`, optional with `table`.
        captions: Folder of caption files, `.txt` or `.caption`. May be the same folder
            as `images`.
        table: Path or glob of CSV, TSV, JSONL or Parquet files that name images and
            hold their captions; or of Parquet files that hold the images too.
        coco: Path or glob of JSON files of captions in the COCO format, or of
            Karpathy's split files (`dataset_coco.json`).
        webdataset: Glob of tar files in the WebDataset format.
        dataset: Folder of a finished dataset, whose images, captions and columns are
            read. Settings that are not passed are carried over from it: see
            docs/rebuilding.md.
        output: Folder of the dataset. New, or the folder of an unfinished job, which
            is then resumed.
        image_column: Table column that names the image files, or in Parquet holds the
            images. None to detect the column by its usual names: `file_name`, `image`
            and others.
        caption_column: Column of captions in the table or in WebDataset's JSON. None
            to detect the column by its usual names: `caption`, `text` and others.
        caption_columns: Columns of captions, each of which keeps its column as a name:
            see docs/sources.md#names-of-captions. Excludes `caption_column`.
        table_delimiter: Character between the cells of text tables, around which spaces
            are dropped. None for a comma in CSV and a tab in TSV.
        table_quoting: Whether cells of text tables are quoted: `csv` as in RFC 4180,
            `none`, or `auto` to decide for each table: see docs/tables.md#quotes.
        key_column: Column of the record keys. None to derive keys from the names of
            the images, or from the numbers of rows for images without names.
        split_column: Column that names each record's split. Excludes `splits` and
            `split_by`. None to split by hash, or as a split file of `coco` says. In a
            `dataset`, a column of texts that it stores.
        columns: Columns that are stored in the records as `extra/<name>` features.
        where: Condition on columns, such as `extra/score > 0.3 and width >= 256`, that
            pairs have to meet to be written: see docs/selections.md. None for all.
        where_columns: Columns of the source that only `where` uses, as `extra/<name>`.
            They are not stored.
        allow_roots: Folders, besides `images`, from which a table may name images by
            absolute path.
        name: Name of the dataset in its manifest.
        dataset_version: Version of the dataset, `major.minor.patch`. Like the other
            metadata up to `date_published`, stored in the manifest and in the files for
            other tools.
        description: Description of the dataset. None for a generated summary of its
            size.
        license: Name or URL of the dataset's license. None to leave it out.
        url: URL of the dataset's web page. None to leave it out.
        citation: How to cite the dataset, preferably as BibTeX. None to leave it out.
        date_published: Date of publication, `YYYY-MM-DD`. None to leave it out.
        splits: Share of each split, `{name: share}`. Shares must sum to exactly 1 as
            decimals, so 0.7, 0.2 and 0.1 are valid.
        split_by: Value whose hash assigns the split: `key`, `folder` (the key's folder)
            or `content` (SHA-256 of the image file).
        exclude_keys: Path of a text file of keys that are not written, one a line. None
            to write all.
        dedupe: Deduplication mode. `exact` keeps one key of those with identical image
            files. `none` keeps all.
        num_shards: Total number of shards over all splits. None to derive the number
            from `shard_size`.
        shard_size: Target size of a shard in bytes. Unused if `num_shards` is set.
        seed: Seed of the record order and of the split assignment.
        resize: Resize mode, one of `RESIZE_MODES`: see docs/format.md#sizes.
        image_size: Target size in pixels. `resize` determines which side or area it
            applies to.
        upscale: Whether images smaller than the target size are enlarged.
        image_format: Format of the stored images: `jpeg`, `png` or `raw`.
        jpeg_quality: JPEG quality from 1 to 100.
        jpeg_subsampling: Chroma subsampling of JPEGs: `420` or `444`.
        max_pixels: Largest number of pixels per image. A larger image is rejected
            before decoding.
        max_image_bytes: Largest size of an image file in bytes. A larger file is
            rejected before reading.
        min_image_size: Smallest length of an image's shorter side in pixels. A smaller
            image is filtered out before decoding.
        max_aspect_ratio: Largest ratio of an image's longer side to its shorter side.
            An image with a larger ratio is filtered out before decoding. None for no
            limit.
        caption_names: Names of captions: those that captions have in JSON; or, with
            `caption_columns`, a name for each column.
        caption_files: Suffixes of several caption files of an image, `{name: suffix}`,
            such as `{"alt": ".txt", "recap": ".recap.txt"}`.
        captions_per_file: Captions in each caption file: `one`, or `lines` for one
            caption per line.
        caption_encoding: Text encoding of captions and tables without a byte order
            mark.
        tokenizer: `basic`, `bytes`, the path of a tokenizer file, whose kind is
            detected from its content, or the folder of another dataset, whose
            tokenizer is taken over.
        vocab_size: Largest size of the vocabulary that `basic` counts, including its
            four special tokens.
        min_count: Smallest number of occurrences for a word to enter the vocabulary
            that `basic` counts.
        min_tokens: Smallest number of tokens of a caption, without start and end. A
            caption with fewer is dropped, and a key without another is filtered out.
        max_rejects: Limit on rejected keys. The job fails above it. A count, or a
            percentage of all keys such as `0.5%`.
        max_unpaired: Limit on keys without an image or a caption. The job fails above
            it. A count or a percentage, like `max_rejects`.
        workers: Number of worker processes on this machine. None to derive it from the
            number of cores.
        threads: Number of encoding threads in each worker process. None to derive it
            from the number of cores.
        plan_only: Whether the job stops after planning and writes nothing.
        overwrite: Whether the job replaces an existing dataset in `output`.
        repair: Whether the job checks the bytes of all finished files and rewrites
            damaged ones.
        take_over: Whether the job ends another job's lease on an output in a bucket.
        given: Names of the settings that were passed. None to take note of them.
        carried: Names of the settings carried over from `dataset`. None before that,
            and for other sources.

    Raises:
        UsageError: A value is invalid, or two values exclude each other. The message
            names the field and, where it can, shows the value.
    """

    # Not settings: what `beam_jobs.config.carried` needs to know of them.
    given: frozenset[str] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    carried: frozenset[str] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )

    def __new__(cls, **given: Any) -> Self:
        """Notes which settings are passed, since a default may be passed too."""
        config = super().__new__(cls)
        config.__dict__[_PASSED] = frozenset(given)
        return config

    def __post_init__(self) -> None:
        """Normalizes paths, and checks every value without reading a file."""
        passed = self.__dict__.pop(_PASSED)
        if self.given is None:
            object.__setattr__(self, "given", passed)
        self._normalize_paths()
        roots = tuple(map(os.path.expanduser, self.allow_roots))
        object.__setattr__(self, "allow_roots", roots)
        for field in ("caption_columns", "caption_names"):
            names = getattr(self, field)
            if isinstance(names, str):
                raise UsageError(f'{field} must be a tuple of names, got "{names}"')
            object.__setattr__(self, field, tuple(names))
        self._check_declared()
        self._check_common()
        self._check_texts()
        self._check_together()
        self._check_source()

    def _check_texts(self) -> None:
        check_splits(self.shares)
        for field in ("name", "description", "license", "citation"):
            check_text(field, getattr(self, field))
        check_version("dataset_version", self.dataset_version)
        check_url("url", self.url)
        check_date("date_published", self.date_published)

    def _check_together(self) -> None:
        """Checks values that depend on each other."""
        splits = len(self.splits)
        check_range("num_shards", self.num_shards, splits, why=" (one for each split)")
        if self.split_column is not None and not self.leaves_splits_open:
            raise UsageError(
                "split_column assigns the splits: leave out splits and split_by"
            )
        self._check_where()
        self._check_caption_names()
        defaults = defaults_of(type(self))
        for field in ("vocab_size", "min_count") if self.tokenizer != "basic" else ():
            value = getattr(self, field)
            if value != defaults[field]:
                raise UsageError(
                    f"{field} applies only to the vocabulary that basic counts: leave "
                    f"it out with --tokenizer={self.tokenizer}, got {value}"
                )

    def _check_where(self) -> None:
        names = [column.name for column in self.columns_read]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"{name} is in columns and in where_columns: leave it out of one"
                )
        if self.where_columns and self.where is None:
            raise UsageError("where_columns needs where: pass the condition")
        if self.dataset is not None and self.carried is None:
            return  # Its columns are not known yet.
        _ = self.row_filter  # Raises if it is not a condition.

    def _check_caption_names(self) -> None:
        several = [
            field
            for field in ("caption_column", "caption_columns", "caption_files")
            if getattr(self, field)
        ]
        if len(several) > 1:
            raise UsageError(f"{several[0]} and {several[1]} exclude each other")
        if self.caption_names and self.caption_files:
            raise UsageError(
                "caption_files names the captions: leave out caption_names"
            )
        columns, names = self.caption_columns, self.caption_names
        if columns and names and len(columns) != len(names):
            raise UsageError(
                "caption_names must have a name for each of caption_columns, got "
                f"{len(names)} names and {len(columns)} columns"
            )
        for column in columns:
            if columns.count(column) > 1:
                raise UsageError(f"caption_columns has {column} twice")
        fields = ("caption_names", "caption_columns", "caption_files")
        field = next((field for field in fields if getattr(self, field)), fields[0])
        check_caption_names(field, self.names_of_captions)
        check_caption_files(self.caption_files)

    def _check_source(self) -> None:
        """Checks that the fields name one source; its type checks its own options."""
        kinds = {
            field: declared
            for field, declared in settings_of(type(self)).items()
            if declared.images is not None and getattr(self, field) is not None
        }
        if len(kinds) > 1:
            one, other, *_ = kinds
            raise UsageError(f"{one} and {other} exclude each other: pass only one")
        (field, declared) = next(iter(kinds.items()), (None, None))
        needs_images = declared is None or declared.images == "required"
        if self.images is None and needs_images:
            raise UsageError("images is required: pass the folder of images")
        options = (self.table_delimiter, self.table_quoting)
        if field not in (None, "table") and options != (None, "auto"):
            raise UsageError(
                "table_delimiter and table_quoting are for tables: leave them out "
                f"with {field}"
            )
        if self.images is not None and declared and declared.images == "excluded":
            raise UsageError(f"images and {field} exclude each other: pass only one")
        if field == "dataset" and self.carried is None:
            self._check_reads_no_files()

    def _check_reads_no_files(self) -> None:
        """Checks that no setting says how to read files, which a dataset has read."""
        defaults = defaults_of(type(self))
        for name, declared in settings_of(type(self)).items():
            if declared.reads_files and getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"{name} says how to read files of images, captions or rows: leave "
                    "it out with dataset"
                )

    @functools.cached_property
    def excluded_sha256(self) -> str:
        """SHA-256 of the keys that are not written, in hex; part of the fingerprint.

        Like the tokenizer's identity, it is known before a job begins its work, and
        workers do not need the file.
        """
        return digest_of_keys(self._read_keys())

    def read_excluded(self) -> frozenset[str]:
        """Reads the keys that are not written, as text, before work begins.

        Raises:
            UsageError: The file cannot be read, or has changed since its hash was asked
                for.
        """
        keys = self._read_keys()
        digest = digest_of_keys(keys)
        if self.__dict__.setdefault("excluded_sha256", digest) != digest:
            raise UsageError(
                f"--exclude_keys={self.exclude_keys}: the file has changed: run again"
            )
        return keys

    def _read_keys(self) -> frozenset[str]:
        if self.exclude_keys is None:
            return frozenset()
        return read_keys("exclude_keys", self.exclude_keys)

    @property
    def counts_words(self) -> bool:
        """Whether the job counts words to make the vocabulary."""
        return not self.tokenizer_sha256

    def absolute(self) -> Self:
        """Returns a copy with absolute paths."""
        roots = tuple(map(absolute, self.allow_roots))
        return dataclasses.replace(super().absolute(), allow_roots=roots)

    @property
    def places(self) -> list[str]:
        """All paths that workers read or write."""
        return [*super().places, *self.allow_roots]

    @property
    def columns_read(self) -> tuple[Column, ...]:
        """Columns of the source that are read: first those that are stored."""
        return (*self.columns, *self.where_columns)

    @property
    def names_of_captions(self) -> tuple[str, ...]:
        """Names that captions may have; empty if captions have no names."""
        return self.caption_names or self.caption_columns or (*self.caption_files,)

    @property
    def named_columns(self) -> dict[str, str]:
        """Columns of captions with names, `{name: column}`."""
        return dict(zip(self.names_of_captions, self.caption_columns, strict=False))

    @property
    def features(self) -> tuple[Feature, ...]:
        """Features of the records."""
        names = (NAMES_OF_CAPTIONS,) if self.names_of_captions else ()
        return (*FEATURES, *names, *(column.feature for column in self.columns))

    @property
    def row_filter(self) -> RowFilter | None:
        """Decides which pairs are written; None to write all."""
        if self.where is None:
            return None
        return row_filter(
            self.where, self.columns_read, splits_by_content=self.splits_by_content
        )

    @property
    def reads_columns(self) -> bool:
        """Whether the job reads columns other than images and captions."""
        return bool(self.columns_read or self.key_column or self.split_column)

    @property
    def leaves_splits_open(self) -> bool:
        """Whether the source may decide the splits: no others are asked for."""
        by_key = self.split_by == "key" or self.keeps_splits
        return by_key and list(self.splits) == ["train"]

    @property
    def keeps_splits(self) -> bool:
        """Whether each record of a dataset keeps its split: no other is asked for."""
        carried = self.carried or frozenset()
        return self.split_column is None and {"splits", "split_by"} <= carried

    @property
    def splits_by_content(self) -> bool:
        """Whether the image files decide the splits."""
        return self.split_by == "content" and not self.keeps_splits

    @property
    def reads_contents(self) -> bool:
        """Whether planning reads the image files."""
        return self.dedupe != "none" or self.splits_by_content

    @functools.cached_property
    def shares(self) -> dict[str, Fraction]:
        """Exact share of each split: 0.1 is one tenth."""
        return {name: Fraction(str(share)) for name, share in self.splits.items()}

    @property
    def image_spec(self) -> ImageSpec:
        """Format and size of the stored images."""
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
        """Metadata of the dataset for other tools."""
        declared = settings_of(type(self)).items()
        return About(
            **{
                setting.about: getattr(self, field)
                for field, setting in declared
                if setting.about is not None
            }
        )

    @property
    def num_threads(self) -> int:
        """Number of encoding threads in each worker process."""
        own = max(1, math.ceil(num_cores() / self.num_workers))
        # A thread that waits for a response from a bucket needs no core.
        own = max(own, REQUESTS) if any(map(is_remote, self.sources)) else own
        return self.threads or own

    def fingerprint_fields(self) -> dict[str, Any]:
        """Returns every value that changes the output, as plain JSON values."""
        declared = settings_of(type(self))
        fields = super().fingerprint_fields()
        for field in ("columns", "where_columns"):
            fields[field] = [column.spec for column in getattr(self, field)]
        if self.exclude_keys is not None:
            fields["exclude_keys_sha256"] = self.excluded_sha256
        # Lists keep the order of names, which is that of the manifest.
        for field in ("caption_columns", "caption_names"):
            fields[field] = [*fields[field]]
        fields["caption_files"] = [[*named] for named in self.caption_files.items()]
        # A list keeps the order of splits, which is the order of shards in the index.
        fields["splits"] = [[name, str(share)] for name, share in self.shares.items()]
        unused = [] if self.counts_words else ["vocab_size", "min_count"]
        # Metadata and newer fields at their defaults are left out, so datasets from
        # before these fields existed keep their fingerprint.
        defaults = defaults_of(type(self))
        unused += [
            field
            for field, setting in declared.items()
            if (setting.about is not None or setting.since_format_1)
            and getattr(self, field) == defaults[field]
        ]
        for field in unused + (["shard_size"] if self.num_shards is not None else []):
            del fields[field]
        return fields
