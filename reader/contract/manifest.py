"""The manifest: what a dataset says of itself, as values and as JSON.

Nothing in it depends on when, where or how the job ran: two builds of the same input
into two folders have the same manifest, byte for byte.
"""

import dataclasses
import functools
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reader.contract.errors import DatasetError
from reader.contract.layout import FORMAT_VERSION, MANIFEST
from reader.contract.schema import Dtype, Feature


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
class Shard:
    """One shard: its file below the dataset, and what it must contain."""

    file: str
    num_examples: int
    num_bytes: int
    crc32c: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Count, sum, smallest and largest of some integers; exact, and mergeable."""

    count: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0

    def add(self, value: int) -> "Tally":
        """Returns the tally with one more value."""
        return self.merge(Tally(count=1, sum=value, min=value, max=value))

    def merge(self, other: "Tally") -> "Tally":
        """Returns the tally of both."""
        if not self.count or not other.count:
            return self if self.count else other
        return Tally(
            count=self.count + other.count,
            sum=self.sum + other.sum,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
        )


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Exact statistics of a split's records, as stored.

    Attributes:
        width, height: Of images, in pixels.
        image_bytes: Of encoded images.
        captions: Of each record; None in manifests of before this was counted.
        caption_tokens: Tokens of each caption, without start and end.
        unknown_tokens: How many of these tokens are unknown.
        one_token_captions: How many captions are a single token; None in manifests of
            before this was counted.
    """

    width: Tally = Tally()
    height: Tally = Tally()
    image_bytes: Tally = Tally()
    captions: Tally | None = Tally()
    caption_tokens: Tally = Tally()
    unknown_tokens: int = 0
    one_token_captions: int | None = 0

    def merge(self, other: "Statistics") -> "Statistics":
        """Returns the statistics of both."""
        return Statistics(
            width=self.width.merge(other.width),
            height=self.height.merge(other.height),
            image_bytes=self.image_bytes.merge(other.image_bytes),
            captions=_merged(self.captions, other.captions),
            caption_tokens=self.caption_tokens.merge(other.caption_tokens),
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            one_token_captions=_sum(self.one_token_captions, other.one_token_captions),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Statistics":
        """Reads what `dataclasses.asdict` and JSON made of one."""
        tallies = ("width", "height", "image_bytes", "caption_tokens")
        return cls(
            **{name: _known(Tally, data[name]) for name in tallies},
            captions=(
                _known(Tally, data["captions"]) if data.get("captions") else None
            ),
            unknown_tokens=data["unknown_tokens"],
            one_token_captions=data.get("one_token_captions"),
        )


def _merged(one: Tally | None, other: Tally | None) -> Tally | None:
    return None if one is None or other is None else one.merge(other)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def statistics_of(
    *,
    width: int,
    height: int,
    num_image_bytes: int,
    num_tokens: Iterable[int],
    num_unknown: int,
) -> Statistics:
    """Returns the statistics of one record."""
    tokens, single = Tally(), 0
    for number in num_tokens:
        tokens = tokens.add(number)
        single += number == 1
    return Statistics(
        width=Tally().add(width),
        height=Tally().add(height),
        image_bytes=Tally().add(num_image_bytes),
        captions=Tally().add(tokens.count),
        caption_tokens=tokens,
        unknown_tokens=num_unknown,
        one_token_captions=single,
    )


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
class Books:
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
        books: What became of every key.
        files: `{file: crc32c}` of all other files but the manifest itself.
        fingerprints: `input` (contents of what was written), `listing` (names and
            sizes of the sources' files) and `config` (all that changes the output).
        config: The configuration behind that last fingerprint.
        versions: Of the format's plan and of the libraries that shaped the bytes.
        overlays: Reserved: columns aligned with the records, row by row.
        format_version: Of what is on disk.
    """

    name: str
    features: tuple[Feature, ...]
    image: ImageSpec
    tokenizer: TokenizerSpec
    splits: tuple[Split, ...]
    books: Books
    files: Mapping[str, str]
    fingerprints: Mapping[str, str]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
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


def dump_json(value: Any) -> bytes:
    """Returns JSON that is equal for equal values: sorted keys, UTF-8, one newline."""
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def dump_manifest(manifest: Manifest) -> bytes:
    """Returns the bytes of `manifest.json`."""
    data = dataclasses.asdict(manifest)
    data["features"] = [feature._asdict() for feature in manifest.features]
    return dump_json(data)


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
            f"{where}/{MANIFEST} is not a manifest of diptych ({error!r}): "
            "build the dataset again"
        ) from error
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{where}/{MANIFEST} is damaged ({error}): build the dataset again"
        ) from error


def _manifest_from(fields: Mapping[str, Any]) -> Any:
    return _known(
        Manifest,
        {
            **fields,
            "features": tuple(map(_feature_from, fields["features"])),
            "image": _known(ImageSpec, fields["image"]),
            "tokenizer": _known(TokenizerSpec, fields["tokenizer"]),
            "splits": tuple(map(_split_from, fields["splits"])),
            "books": _known(Books, fields["books"]),
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
        shards=tuple(_known(Shard, shard) for shard in fields["shards"]),
        statistics=Statistics.from_json(fields["statistics"]),
    )


def _known(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    """Makes a dataclass of the fields that it has, and checks the plain ones' types."""
    types = _types_of(cls)  # type: ignore[arg-type]
    known = {name: value for name, value in fields.items() if name in types}
    for name, value in known.items():
        plain = types[name] in (int, str, int | None)
        if plain and not isinstance(value, types[name]):
            wanted = getattr(types[name], "__name__", types[name])
            raise TypeError(f"{name} must be {wanted}, got {value!r}")
    for name in ("not_written", "files"):
        if not isinstance(known.get(name, {}), Mapping):
            raise TypeError(f"{name} must be an object, got {known[name]!r}")
    return cls(**known)


@functools.cache
def _types_of(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)
