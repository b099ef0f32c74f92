"""The manifest of a dataset, as values and as the JSON of `manifest.json`.

The manifest does not depend on when, where or how the job ran. Two builds of the same
input into two folders have the same manifest, byte for byte, given the same library
versions and CPU architecture.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reader.contract.errors import DatasetError
from reader.contract.json_values import dump_json, known_fields
from reader.contract.layout import FORMAT_VERSION, MANIFEST
from reader.contract.schema import Feature, dump_feature, feature_from
from reader.contract.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Format and size of the stored images.

    Attributes:
        format: Format of the stored images: `jpeg`, `png` or `raw`
            (`uint8[height, width, 3]`).
        quality: Quality of JPEGs, 1 to 100.
        subsampling: Chroma subsampling of JPEGs, `420` or `444`.
        resize: Resize mode: `shorter_side`, `longer_side`, `area`, `crop`, `pad`,
            `stretch` or `none`.
        size: Target size of the resize mode, in pixels.
        upscale: Whether images smaller than the target size were enlarged.
    """

    format: str
    quality: int
    subsampling: str
    resize: str
    size: int
    upscale: bool = False


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """The tokenizer of the captions.

    Records hold token ids without padding, start and end. The reader adds these.

    Attributes:
        kind: Kind of tokenizer: `basic`, `bytes`, `huggingface`, `sentencepiece` or
            `clip`.
        file: Name of the tokenizer's file in `tokenizer/`.
        sha256: SHA-256 of that file, in hex.
        vocab_size: Size of the vocabulary; every id is below it.
        pad_id: Id that pads captions to a common length. 0 if the tokenizer has no pad
            token; 0 may then also be the id of a text token.
        unknown_id: Id of out-of-vocabulary tokens; None if the tokenizer has no such
            token.
        start_id: Id that the reader puts before a caption; None if the tokenizer has
            no such token.
        end_id: Id that the reader puts after a caption; None if the tokenizer has no
            such token.
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
    """Descriptive metadata for dataset catalogs; None where the author gave no value.

    Attributes:
        version: Version of the dataset, `major.minor.patch`.
        description: Description of the dataset.
        license: Name or URL of the license.
        url: URL of the dataset's page.
        citation: Citation of the dataset, preferably as BibTeX.
        date_published: Date of publication, `YYYY-MM-DD`.
    """

    version: str = "1.0.0"
    description: str | None = None
    license: str | None = None
    url: str | None = None
    citation: str | None = None
    date_published: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard file and its expected content.

    Attributes:
        file: Path of the shard, relative to the dataset's directory.
        num_examples: Number of records in the shard.
        num_bytes: Size of the file, in bytes.
        crc32c: CRC-32C of the whole file, as 8 hex digits.
    """

    file: str
    num_examples: int
    num_bytes: int
    crc32c: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split of the dataset.

    Attributes:
        name: Name of the split.
        shards: Shards of the split, in order.
        statistics: Statistics of the split's records.
    """

    name: str
    shards: tuple[Shard, ...]
    statistics: Statistics

    @property
    def num_examples(self) -> int:
        """Number of records in all shards of the split."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Size of all shards of the split, in bytes."""
        return sum(shard.num_bytes for shard in self.shards)


@dataclass(frozen=True, kw_only=True)
class KeyAccounting:
    """Accounting of the source keys: written, or not written for a reason.

    Attributes:
        found: Number of keys in the sources.
        written: Number of keys that became a record.
        not_written: Number of keys that did not become a record, `{reason: keys}`. The
            reasons are those of `rejects.jsonl`.
        dropped_captions: Number of captions, unusable or too short, of keys that were
            written with their other captions.
    """

    found: int
    written: int
    not_written: Mapping[str, int]
    dropped_captions: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the counts add up: every found key is counted exactly once."""
        return self.found == self.written + sum(self.not_written.values())


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a dataset.

    The attributes are the fields of `manifest.json`, except that `accounting` is called
    `books` there.

    Attributes:
        name: Name of the dataset.
        features: Features of each record.
        image: Format and size of the stored images.
        tokenizer: Tokenizer of the captions.
        splits: Splits, in the order in which the configuration lists them.
        accounting: Accounting of the source keys.
        files: CRC-32C of each file except the shards and the manifest, `{path: crc32c}`
            with 8 hex digits.
        fingerprints: Hashes of the job's input: `input` (content of the written
            records), `listing` (names and sizes of the source files) and `config` (all
            settings that change the output).
        config: Settings that change the output; `fingerprints["config"]` is their hash.
        versions: Versions of Diptych and of the libraries that affect the bytes of a
            record.
        about: Descriptive metadata from the dataset's author.
        caption_names: Names that captions have, in the order of the configuration;
            empty if no caption has a name.
        format_version: Format version of the dataset's files.
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
    caption_names: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Shards of all splits, in the order of `index/blocks.bin`."""
        return tuple(shard for split in self.splits for shard in split.shards)

    @property
    def num_examples(self) -> int:
        """Number of records in all splits."""
        return sum(split.num_examples for split in self.splits)

    @property
    def description(self) -> str:
        """Description by the author, or else a sentence that states the size."""
        if self.about.description is not None:
            return self.about.description
        parts = [f"{split.num_examples:,} {split.name}" for split in self.splits]
        return f"{self.num_examples:,} images with captions: {', '.join(parts)}."


# Key of `Manifest.accounting` in `manifest.json`. It stays: format 1 is frozen.
_ACCOUNTING = "books"


def dump_manifest(manifest: Manifest) -> bytes:
    """Serializes a manifest as the bytes of `manifest.json`."""
    data = dataclasses.asdict(manifest)
    data["features"] = [dump_feature(feature) for feature in manifest.features]
    for split, fields in zip(manifest.splits, data["splits"], strict=True):
        fields["statistics"] = split.statistics.to_json()
    data[_ACCOUNTING] = data.pop("accounting")
    if not manifest.caption_names:
        # Manifests of before these names keep their bytes.
        del data["caption_names"]
    data["overlays"] = []  # Reserved in format 1; nothing reads it.
    return dump_json(data)


# Does not suggest --overwrite: without a valid manifest, a folder may hold other files
# than a dataset.
_FIX = "restore it from a copy, or rebuild the dataset into an empty folder"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Parses the bytes of `manifest.json`.

    Unknown fields are ignored, so later versions can add fields to format 1.

    Args:
        data: Bytes of `manifest.json`.
        where: Path of the dataset, for error messages.

    Raises:
        DatasetError: The bytes are not a manifest, or the format version is newer than
            this reader supports.
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
            f"{where}/{MANIFEST} is not a Diptych manifest ({error!r}): {_FIX}"
        ) from error
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{where}/{MANIFEST} is damaged ({error}): {_FIX}"
        ) from error


def _manifest_from(fields: Mapping[str, Any]) -> Any:
    return known_fields(
        Manifest,
        {
            **fields,
            "features": tuple(map(feature_from, fields["features"])),
            "image": known_fields(ImageSpec, fields["image"]),
            "tokenizer": known_fields(TokenizerSpec, fields["tokenizer"]),
            "splits": tuple(map(_split_from, fields["splits"])),
            "accounting": known_fields(KeyAccounting, fields[_ACCOUNTING]),
            "about": known_fields(About, fields.get("about", {})),
            "caption_names": tuple(fields.get("caption_names", ())),
        },
    )


def _split_from(fields: Mapping[str, Any]) -> Split:
    return Split(
        name=fields["name"],
        shards=tuple(known_fields(Shard, shard) for shard in fields["shards"]),
        statistics=Statistics.from_json(fields["statistics"]),
    )
