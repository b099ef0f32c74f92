"""Record schema: the features of records and their roles, for any source."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reader.contract.additions.layer import LayerManifest, present_feature
from reader.contract.manifest import Manifest, Split, TokenizerSpec
from reader.contract.schema import (
    EXTRA,
    NAMES_OF_CAPTIONS,
    Feature,
    is_column,
    needs_size,
)
from reader.contract.statistics import Statistics, Tally

# Roles whose values mean something only together with their tokenizer.
TOKEN_ROLES = ("token_ids", "token_lengths")


@dataclass(frozen=True, kw_only=True)
class RecordSchema:
    """Schema of the records of a source.

    Attributes:
        features: Features by role: `image`, `height`, `width`, `key`, `captions`,
            `token_ids`, `token_lengths`, and columns such as `extra/score` by their own
            names. Roles that the records do not hold are missing.
        conflicts: Roles that cannot be read because the merged sources differ in them,
            each with the error message of asking for it.
        image_format: `jpeg`, `png` or `raw`; None if images have different formats or
            the format is unknown.
        tokenizer: Tokenizer of the token ids; None if unknown.
        width: Widths of stored images, in pixels; None if unknown.
        height: Heights of stored images, in pixels; None if unknown.
        captions: Number of captions of each example; None if unknown.
        caption_tokens: Number of tokens of each caption, without start and end token;
            None if unknown.
        caption_names: Names that the records' own captions may have.
        layer_tokenizers: Tokenizers of captions that layers add, by name of the layer.
    """

    features: Mapping[str, Feature]
    conflicts: Mapping[str, str] = field(default_factory=dict)
    image_format: str | None = None
    tokenizer: TokenizerSpec | None = None
    width: Tally | None = None
    height: Tally | None = None
    captions: Tally | None = None
    caption_tokens: Tally | None = None
    caption_names: tuple[str, ...] = ()
    layer_tokenizers: Mapping[str, TokenizerSpec | None] = field(default_factory=dict)

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """(height, width) of stored images; None if sizes differ or are unknown."""
        width, height = self.width, self.height
        if width is None or height is None:
            return None
        if (width.min, height.min) != (width.max, height.max):
            return None
        return height.min, width.min

    @property
    def extras(self) -> list[str]:
        """Names of the extra columns that the pipeline carried into the records."""
        return [name for name in self.features if name.startswith(EXTRA)]

    @property
    def added(self) -> list[str]:
        """Names of the features that layers add."""
        return [
            name
            for name in self.features
            if is_column(name) and name not in self.extras
        ]


def record_schema_of(manifest: Manifest, splits: Sequence[Split]) -> RecordSchema:
    """Returns the schema of the records of some splits of a Diptych dataset."""
    statistics = Statistics()
    for split in splits:
        statistics = statistics.merge(split.statistics)
    return RecordSchema(
        features={_role(feature): feature for feature in manifest.features},
        image_format=manifest.image.format,
        tokenizer=manifest.tokenizer,
        width=statistics.width,
        height=statistics.height,
        captions=statistics.captions,
        caption_tokens=statistics.caption_tokens,
        caption_names=manifest.caption_names,
    )


def with_layer(
    record_schema: RecordSchema, layer: LayerManifest, splits: Sequence[Split]
) -> RecordSchema:
    """Returns the schema of records that are read together with those of a layer.

    The features of the layer get their keys as roles. If the layer replaces the
    captions, its captions get the roles of the dataset's own instead.

    Args:
        record_schema: Schema of the records.
        layer: The layer.
        splits: Splits that the records belong to.
    """
    added = {
        feature.key: feature
        for feature in (*layer.columns, present_feature(layer.name))
    }
    captions = [each for each in layer.features if each not in layer.columns]
    if "captions" not in layer.replaces:
        added |= {feature.key: feature for feature in captions}
        tokenizers = dict(record_schema.layer_tokenizers)
        if captions:
            tokenizers[layer.name] = layer.tokenizer
        return dataclasses.replace(
            record_schema,
            features={**record_schema.features, **added},
            layer_tokenizers=tokenizers,
        )
    own = {
        role: feature
        for role, feature in record_schema.features.items()
        if role != NAMES_OF_CAPTIONS.role
    }
    statistics = Statistics()
    for split in splits:
        statistics = statistics.merge(layer.statistics.get(split.name, Statistics()))
    return dataclasses.replace(
        record_schema,
        features={**own, **{each.role: each for each in captions}, **added},
        tokenizer=layer.tokenizer,
        captions=statistics.captions,
        caption_tokens=statistics.caption_tokens,
    )


def _role(feature: Feature) -> str:
    return feature.key if feature.key.startswith(EXTRA) else feature.role


def merge_record_schemas(contents: Mapping[str, RecordSchema]) -> RecordSchema:
    """Returns the features that all record schemas have in common.

    A role in which they differ (their tokenizers, the feature, the image format) goes
    to `conflicts`: the sources are read as one as long as it is not asked for.

    Args:
        contents: Record schemas by the name of their source in messages.
    """
    (name, merged), *others = contents.items()
    for other_name, other in others:
        merged = _merge(name, merged, other_name, other)
    return merged


def _merge(
    name: str, one: RecordSchema, other_name: str, other: RecordSchema
) -> RecordSchema:
    names = f"{name} and {other_name}"
    conflicts = {
        **_different_features(names, one, other),
        **_different_formats(names, one, other),
        **_different_tokens(name, one, other_name, other),
        **one.conflicts,  # The first one found is reported.
    }
    return RecordSchema(
        features={
            role: feature
            for role, feature in one.features.items()
            if role in other.features and role not in conflicts
        },
        conflicts=conflicts,
        image_format=one.image_format
        if one.image_format == other.image_format
        else None,
        tokenizer=None if "token_ids" in conflicts else one.tokenizer,
        width=_tally(one.width, other.width),
        height=_tally(one.height, other.height),
        captions=_tally(one.captions, other.captions),
        caption_tokens=_tally(one.caption_tokens, other.caption_tokens),
        caption_names=(*dict.fromkeys((*one.caption_names, *other.caption_names)),),
        layer_tokenizers=one.layer_tokenizers,
    )


def _different_features(
    names: str, one: RecordSchema, other: RecordSchema
) -> dict[str, str]:
    return {
        role: f"{names} hold different features for {role}: {mine.key} ({mine.dtype}) "
        f"and {theirs.key} ({theirs.dtype}): leave it out of outputs"
        for role, mine in one.features.items()
        if (theirs := other.features.get(role)) is not None
        and mine._replace(role="") != theirs._replace(role="")
    }


def _different_formats(
    names: str, one: RecordSchema, other: RecordSchema
) -> dict[str, str]:
    formats = (one.image_format, other.image_format)
    if formats[0] == formats[1] or not any(map(needs_size, formats)):
        return {}
    return {
        "image": f"{names} store images as {formats[0]} and {formats[1]}: raw pixels "
        "cannot be mixed with encoded images"
    }


def _different_tokens(
    name: str, one: RecordSchema, other_name: str, other: RecordSchema
) -> dict[str, str]:
    mine, theirs = one.tokenizer, other.tokenizer
    if same_tokenizer(mine, theirs):
        return {}
    again = ""
    if mine is not None and theirs is not None:
        again = (
            f", or tokenize {other_name} as {name} is: `diptych build "
            f"--dataset={other_name} --tokenizer={name} --output=…`. Or, with no copy "
            f"of the images, `diptych layer … --name=tokens --retokenize "
            f'--tokenizer={name}` for each of them, and pass layers=["tokens"]'
        )
    message = (
        f"{name} and {other_name} were tokenized by different tokenizers "
        f"({_shown(mine)} and {_shown(theirs)}), so equal ids mean different words: "
        'leave tokens out of outputs, as in outputs=("image", "caption", "key")'
        f"{again}"
    )
    return dict.fromkeys(TOKEN_ROLES, message)


def same_tokenizer(one: TokenizerSpec | None, other: TokenizerSpec | None) -> bool:
    """Returns whether equal ids of two tokenizers mean the same."""
    return _identity(one) == _identity(other)


def _identity(spec: TokenizerSpec | None) -> tuple[str, str] | None:
    return None if spec is None else (spec.kind, spec.sha256)


def _shown(spec: TokenizerSpec | None) -> str:
    return "unknown" if spec is None else f"{spec.kind}, sha256 {spec.sha256[:12]}…"


def _tally(one: Tally | None, other: Tally | None) -> Tally | None:
    return None if one is None or other is None else one.merge(other)
