"""A layer: features added to the records of a finished dataset, in a folder of its own.

    layers/clip-b32/train-00000-of-00064.tfrecord               added features
    layers/clip-b32/index/…                                     as in a dataset
    layers/clip-b32/samples/train-00000-of-00064.parquet        one row per record
    layers/clip-b32/tokenizer/                                  file of the tokenizer
    layers/clip-b32/rejects.jsonl                               keys that are not in it
    layers/clip-b32/layer.json                                  written last: complete

A layer has a shard for each shard of the dataset, under the same name and with the same
number of records. Record i holds a `tf.train.Example` with only the added features of
the dataset's record i; it has no bytes where nothing was added. Protobuf merges
messages that follow each other, so

    record of the dataset + record of the layer = a `tf.train.Example` with all features

The keys of added features begin with the layer's name and a slash, such as
`clip-b32/score`, so no key is there twice.

The columns of `samples/` are those of `SAMPLES_COLUMNS`, then the columns of the layer,
by their keys.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from reader.contract import samples
from reader.contract.additions.addition_file import parse_addition
from reader.contract.additions.base_shard import BaseShard, base_from
from reader.contract.errors import UsageError
from reader.contract.json_values import dump_json, known_fields
from reader.contract.layout import FORMAT_VERSION
from reader.contract.manifest import Shard, TokenizerSpec
from reader.contract.schema import (
    BASE_CAPTIONS,
    Dtype,
    Feature,
    Values,
    dump_feature,
    feature_from,
)
from reader.contract.statistics import Statistics

LAYER = "layer.json"
# Last part of the keys of a layer's captions, of their token ids and lengths, and of
# the output that tells whether the layer has something for a record.
CAPTION, IDS, LENGTHS, PRESENT = "caption", "ids", "lengths", "present"
# What a layer may take the place of.
REPLACES = ("captions",)

_KIND = "layer"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
# First parts of the keys of a dataset's features, and the dataset's own captions.
_TAKEN = ("extra", "image", "caption", BASE_CAPTIONS)
_OWN = (CAPTION, IDS, LENGTHS, PRESENT)

# A record's key as text, and where its added features are in the layer's shard. Then
# the captions and their numbers of tokens, if the layer has captions.
SAMPLES_COLUMNS = {
    name: samples.COLUMNS[name]
    for name in (samples.KEY, samples.OFFSET, samples.LENGTH)
}
CAPTION_COLUMNS = {
    name: samples.COLUMNS[name] for name in (samples.CAPTIONS, samples.NUM_TOKENS)
}


def check_layer_name(name: str) -> None:
    """Checks the name of a layer, which is part of paths and of features' keys.

    Raises:
        UsageError: The name has other characters than letters, digits, `_`, `.` and
            `-`, or it stands for features of every dataset.
    """
    if not _NAME.match(name) or name.endswith(".tfrecord"):
        raise UsageError(
            "the name of a layer must be letters, digits, _, . and -, at most 100, "
            f'beginning with a letter or digit, got "{name}"'
        )
    if name in _TAKEN:
        raise UsageError(
            f'"{name}" cannot be the name of a layer, because every dataset has '
            f"features called {name}: choose another"
        )


def column_key(layer: str, column: str) -> str:
    """Returns the key of a layer's column, such as `clip-b32/score`.

    Raises:
        UsageError: The layer's own features have that name.
    """
    if column in _OWN:
        raise UsageError(
            f'a column of a layer cannot be called "{column}", because the layer '
            f"itself has {layer}/{column}: rename it in the table"
        )
    return f"{layer}/{column}"


def caption_features(layer: str) -> tuple[Feature, ...]:
    """Returns the features of a layer's captions: texts, token ids, token lengths."""
    return (
        Feature(f"{layer}/{CAPTION}", "bytes", (None,), "captions"),
        Feature(f"{layer}/{IDS}", "int64", (None,), "token_ids"),
        Feature(f"{layer}/{LENGTHS}", "int64", (None,), "token_lengths"),
    )


@dataclass(frozen=True, kw_only=True)
class LayerAccounting:
    """Accounting of a layer, twice: of the keys it was given, and of the records.

    Attributes:
        found: Number of keys in the tables; for a layer made of the dataset's own
            captions, of the dataset.
        written: Number of records with added features from these keys.
        not_written: Number of keys that are not in the layer, `{reason: keys}`.
        filled: Number of records with the dataset's captions instead (`--fill=base`).
        records_without: Number of records with nothing added.
    """

    found: int
    written: int
    not_written: Mapping[str, int]
    filled: int = 0
    records_without: int = 0

    def balanced(self, num_examples: int) -> bool:
        """Returns whether each key and each record is counted exactly once.

        Args:
            num_examples: Number of records of the dataset.
        """
        keys = self.found == self.written + sum(self.not_written.values())
        return keys and num_examples == (
            self.written + self.filled + self.records_without
        )


@dataclass(frozen=True, kw_only=True)
class LayerManifest:
    """The fields of `layer.json`.

    It does not depend on when, where or how the layer was made, nor on the order of
    rows in the tables.

    Attributes:
        name: Name of the layer.
        base: All shards of the dataset, in the manifest's order.
        features: Features that are added; their keys begin with the layer's name.
        tokenizer: Tokenizer of the layer's captions; None without captions.
        replaces: What the layer takes the place of: `captions`, or nothing.
        shards: Shards of the layer, one for each shard of `base`, in that order. `file`
            is relative to the folder of the layer.
        statistics: Statistics of the captions, `{split: statistics}`; the numbers of
            images are 0.
        accounting: Accounting of keys and records; called `books` in the file.
        files: CRC-32C of each file of the layer but its shards and this one, `{path:
            crc32c}`.
        fingerprints: Hashes of the job's input: `input`, `listing` and `config`.
        config: Settings that change the layer.
        versions: Versions of Diptych and of libraries that affect the bytes.
        format_version: Format version of the dataset's files.
    """

    name: str
    base: tuple[BaseShard, ...]
    features: tuple[Feature, ...]
    tokenizer: TokenizerSpec | None
    replaces: tuple[str, ...]
    shards: tuple[Shard, ...]
    statistics: Mapping[str, Statistics]
    accounting: LayerAccounting
    files: Mapping[str, str]
    fingerprints: Mapping[str, str]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def num_examples(self) -> int:
        """Number of records, which is that of the dataset."""
        return sum(shard.num_examples for shard in self.base)

    @property
    def columns(self) -> tuple[Feature, ...]:
        """Features that are columns, without the captions."""
        return tuple(each for each in self.features if each.role == "extra")

    @property
    def has_captions(self) -> bool:
        """Whether the layer has captions."""
        return len(self.columns) < len(self.features)


def samples_columns(
    features: tuple[Feature, ...],
) -> dict[str, samples.ColumnType]:
    """Returns all columns of a layer's samples tables, `{name: type}`, in order.

    A list states no length: pyarrow cannot read lists of a stated length back if one is
    null, as for a record with nothing added.
    """
    columns = {**SAMPLES_COLUMNS}
    if any(feature.role == "captions" for feature in features):
        columns |= CAPTION_COLUMNS
    added = (each for each in features if each.role == "extra")
    return columns | {
        each.key: samples.column_type(each)._replace(size=None) for each in added
    }


class Fill(NamedTuple):
    """What a reader appends to the record of a layer.

    Every joined record then has every feature of fixed shape, and states whether it has
    something of the layer.

    Attributes:
        present: Serialized Example to follow a record with added features.
        absent: Serialized Example in place of a record without.
    """

    present: bytes
    absent: bytes

    def complete(self, record: bytes) -> bytes:
        """Returns a record of the layer with what follows it."""
        return record + self.present if record else self.absent


def present_feature(layer: str) -> Feature:
    """Returns the feature that states whether a layer has something for a record.

    It is not stored: readers append it, as `fill_of` says.
    """
    return Feature(f"{layer}/{PRESENT}", "int64", (), "extra")


def fill_of(layer: str, features: tuple[Feature, ...]) -> Fill:
    """Returns what follows the records of a layer.

    Args:
        layer: Name of the layer.
        features: Features of the layer.
    """
    # NumPy is loaded here, and not for the help pages of the command line.
    from reader.contract.record import serialize_example

    key = present_feature(layer).key
    nothing: dict[str, tuple[Dtype, Values]] = {
        feature.key: (feature.dtype, nothing_of(feature))
        for feature in features
        if None not in feature.shape
    }
    return Fill(
        present=serialize_example({key: ("int64", [1])}),
        absent=serialize_example({**nothing, key: ("int64", [0])}),
    )


def nothing_of(feature: Feature) -> Values:
    """Returns what stands for nothing in a feature of fixed shape: 0 or empty."""
    num = math.prod(length for length in feature.shape if length is not None)
    if feature.dtype == "bytes":
        return [b""] * num
    return [0] * num if feature.dtype == "int64" else [0.0] * num


def dump_layer(layer: LayerManifest) -> bytes:
    """Serializes the fields of a layer as the bytes of `layer.json`."""
    data = dataclasses.asdict(layer)
    data["base"] = [list(shard) for shard in layer.base]
    data["features"] = [dump_feature(feature) for feature in layer.features]
    data["statistics"] = {
        split: statistics.to_json() for split, statistics in layer.statistics.items()
    }
    data["books"] = data.pop("accounting")
    return dump_json({**data, "kind": _KIND})


def parse_layer(data: bytes, where: str) -> LayerManifest:
    """Parses the bytes of `layer.json`; unknown fields are ignored.

    Args:
        data: Bytes of the file.
        where: Path of the file, for error messages.

    Raises:
        DatasetError: The bytes are not such a file, or of a newer format.
    """
    again = "make the layer again with --overwrite"
    return parse_addition(data, where, _KIND, again, _layer_from)


def _layer_from(fields: Mapping[str, Any]) -> LayerManifest:
    tokenizer = fields["tokenizer"]
    if tokenizer is not None:
        tokenizer = known_fields(TokenizerSpec, tokenizer)
    statistics = {
        split: Statistics.from_json(each)
        for split, each in fields["statistics"].items()
    }
    layer: LayerManifest = known_fields(
        LayerManifest,
        {
            **fields,
            "base": base_from(fields["base"]),
            "features": tuple(map(feature_from, fields["features"])),
            "tokenizer": tokenizer,
            "replaces": tuple(fields["replaces"]),
            "shards": tuple(known_fields(Shard, shard) for shard in fields["shards"]),
            "statistics": statistics,
            "accounting": known_fields(LayerAccounting, fields["books"]),
        },
    )
    counts = [shard.num_examples for shard in layer.shards]
    if counts != [shard.num_examples for shard in layer.base]:
        raise ValueError("its shards are not those of its base")
    return layer
