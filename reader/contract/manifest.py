"""The manifest: what a dataset says of itself, as values and as JSON.

Nothing in it depends on when, where or how the job ran: two builds of the same input
into two folders have the same manifest, byte for byte.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reader.contract.errors import DatasetError
from reader.contract.json_values import dump_json, known_fields
from reader.contract.layout import FORMAT_VERSION, MANIFEST
from reader.contract.schema import Dtype, Feature
from reader.contract.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How images are stored.

    Attributes:
        format: `jpeg`, `png` or `raw` (`uint8[height, width, 3]`).
        quality: JPEG quality, 1 to 100.
        subsampling: Chroma subsampling, `420` or `444`.
        resize: `shorter_side`, `longer_side`, `area`, `crop`, `pad`, `stretch`, `none`.
        size: What `resize` refers to, in pixels.
        upscale: Whether smaller images were enlarged.
    """

    format: str
    quality: int
    subsampling: str
    resize: str
    size: int
    upscale: bool = False


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """How captions were tokenized.

    Attributes:
        kind: `basic`, `bytes`, `huggingface`, `sentencepiece` or `clip`.
        file: Its file below `tokenizer/`.
        sha256: Hex digest of that file.
        vocab_size: Number of ids; every id is below it.
        pad_id: Fills up to a common length; 0 where the tokenizer has no token for it.
        unknown_id: Stands for what is outside the vocabulary; None if nothing is.
        start_id: Put before a caption by the reader; ids are stored without. None if
            the tokenizer has no such token.
        end_id: Put after a caption by the reader, likewise.
    """

    kind: str
    file: str
    sha256: str
    vocab_size: int
    pad_id: int
    unknown_id: int | None
    start_id: int | None
    end_id: int | None


@dataclass(frozen=True, kw_only=True)
class About:
    """What its makers say of a dataset; catalogues ask for it. None where nobody said.

    Attributes:
        version: `major.minor.patch`.
        description: What it is.
        license: Its name or address.
        url: Where its page is.
        citation: How to cite it, best as BibTeX.
        date_published: `YYYY-MM-DD`.
    """

    version: str = "1.0.0"
    description: str | None = None
    license: str | None = None
    url: str | None = None
    citation: str | None = None
    date_published: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard: its file below the dataset, and what it must contain."""

    file: str
    num_examples: int
    num_bytes: int
    crc32c: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split: its shards in order, and the statistics of its records."""

    name: str
    shards: tuple[Shard, ...]
    statistics: Statistics

    @property
    def num_examples(self) -> int:
        """Records in all shards."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.num_bytes for shard in self.shards)


@dataclass(frozen=True, kw_only=True)
class KeyAccounting:
    """Every key among the sources, by what became of it.

    Attributes:
        found: Keys among the sources.
        written: Keys that became a record.
        not_written: `{reason: keys}` for the others.
        dropped_captions: Captions of no use, of keys written for their others.
    """

    found: int
    written: int
    not_written: Mapping[str, int]
    dropped_captions: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every key found was accounted for, exactly once."""
        return self.found == self.written + sum(self.not_written.values())


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a dataset says of itself.

    Attributes:
        name: The dataset's name.
        features: Of every record.
        image: How images are stored.
        tokenizer: How captions were tokenized.
        splits: In the order they were asked for.
        accounting: What became of every key.
        files: `{file: crc32c}` of all other files but the manifest itself.
        fingerprints: `input` (contents of what was written), `listing` (names and
            sizes of the sources' files) and `config` (all that changes the output).
        config: The configuration behind that last fingerprint.
        versions: Of the format's plan and of the libraries that shaped the bytes.
        about: What its makers say of it.
        overlays: Reserved: columns aligned with the records, row by row.
        format_version: Of what is on disk.
    """

    name: str
    features: tuple[Feature, ...]
    image: ImageSpec
    tokenizer: TokenizerSpec
    splits: tuple[Split, ...]
    accounting: KeyAccounting
    files: Mapping[str, str]
    fingerprints: Mapping[str, str]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    about: About = About()
    overlays: tuple[Any, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, in the order that `index/blocks.bin` follows."""
        return tuple(shard for split in self.splits for shard in split.shards)

    @property
    def num_examples(self) -> int:
        """Records in all splits."""
        return sum(split.num_examples for split in self.splits)

    @property
    def description(self) -> str:
        """What its makers say it is; otherwise a sentence on how much it holds."""
        if self.about.description is not None:
            return self.about.description
        parts = [f"{split.num_examples:,} {split.name}" for split in self.splits]
        return f"{self.num_examples:,} images with captions: {', '.join(parts)}."


# The name of `Manifest.accounting` in `manifest.json`: format 1 is frozen.
_ACCOUNTING = "books"


def dump_manifest(manifest: Manifest) -> bytes:
    """Returns the bytes of `manifest.json`."""
    data = dataclasses.asdict(manifest)
    data["features"] = [feature._asdict() for feature in manifest.features]
    data[_ACCOUNTING] = data.pop("accounting")
    return dump_json(data)


# Not with --overwrite: of what lies there nobody knows any more whose it is.
_AGAIN = "put back a copy of it, or build the dataset again, into an empty folder"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Returns the manifest that `manifest.json` holds.

    Fields that this version does not know are passed over, so that later ones can add
    to format 1.

    Raises:
        DatasetError: It is no manifest, or of a newer format. `where` names it.
    """
    try:
        fields = json.loads(data)
        version = fields["format_version"]
        if version > FORMAT_VERSION:
            raise DatasetError(
                f"{where}/{MANIFEST}: format_version {version} is newer than this "
                f"reader ({FORMAT_VERSION}): upgrade diptych"
            )
        manifest: Manifest = _manifest_from(fields)
        return manifest
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{where}/{MANIFEST} is not a manifest of diptych ({error!r}): {_AGAIN}"
        ) from error
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{where}/{MANIFEST} is damaged ({error}): {_AGAIN}"
        ) from error


def _manifest_from(fields: Mapping[str, Any]) -> Any:
    return known_fields(
        Manifest,
        {
            **fields,
            "features": tuple(map(_feature_from, fields["features"])),
            "image": known_fields(ImageSpec, fields["image"]),
            "tokenizer": known_fields(TokenizerSpec, fields["tokenizer"]),
            "splits": tuple(map(_split_from, fields["splits"])),
            "accounting": known_fields(KeyAccounting, fields[_ACCOUNTING]),
            "about": known_fields(About, fields.get("about", {})),
            "overlays": tuple(fields["overlays"]),
        },
    )


def _feature_from(fields: Mapping[str, Any]) -> Feature:
    if fields["dtype"] not in typing.get_args(Dtype):
        raise TypeError(f"dtype must not be {fields['dtype']!r}")
    return Feature(
        str(fields["key"]), fields["dtype"], tuple(fields["shape"]), fields["role"]
    )


def _split_from(fields: Mapping[str, Any]) -> Split:
    return Split(
        name=fields["name"],
        shards=tuple(known_fields(Shard, shard) for shard in fields["shards"]),
        statistics=Statistics.from_json(fields["statistics"]),
    )
