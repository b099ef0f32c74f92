"""Record schema: the features of records and their roles, for any source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reader.contract.errors import UsageError
from reader.contract.manifest import Manifest, Split, TokenizerSpec
from reader.contract.schema import EXTRA, Feature, needs_size
from reader.contract.statistics import Statistics, Tally


@dataclass(frozen=True, kw_only=True)
class RecordSchema:
    """Schema of the records of a source.

    Attributes:
        features: Features by role: `image`, `height`, `width`, `key`, `captions`,
            `token_ids`, `token_lengths`, and columns such as `extra/score` by their own
            names. Roles that the records do not hold are missing.
        image_format: `jpeg`, `png` or `raw`; None if images have different formats or
            the format is unknown.
        tokenizer: Tokenizer of the token ids; None if unknown.
        width: Widths of stored images, in pixels; None if unknown.
        height: Heights of stored images, in pixels; None if unknown.
        captions: Number of captions of each example; None if unknown.
        caption_tokens: Number of tokens of each caption, without start and end token;
            None if unknown.
    """

    features: Mapping[str, Feature]
    image_format: str | None = None
    tokenizer: TokenizerSpec | None = None
    width: Tally | None = None
    height: Tally | None = None
    captions: Tally | None = None
    caption_tokens: Tally | None = None

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
    )


def _role(feature: Feature) -> str:
    return feature.key if feature.key.startswith(EXTRA) else feature.role


def merge_record_schemas(contents: Mapping[str, RecordSchema]) -> RecordSchema:
    """Returns the features that all record schemas have in common.

    Args:
        contents: Record schemas by the name of their source in messages.

    Raises:
        UsageError: The sources cannot be read as one: their tokenizers, their features
            for a role, or their image formats are incompatible.
    """
    (name, merged), *others = contents.items()
    for other_name, other in others:
        if not _same_tokens(merged.tokenizer, other.tokenizer):
            raise UsageError(
                f"{name} and {other_name} were tokenized by different tokenizers "
                f"({_shown(merged.tokenizer)} and {_shown(other.tokenizer)}), so "
                "equal ids mean different words: build them with one --tokenizer"
            )
        merged = _merge(name, merged, other_name, other)
    return merged


def _same_tokens(one: TokenizerSpec | None, other: TokenizerSpec | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.kind, one.sha256) == (other.kind, other.sha256)


def _shown(spec: TokenizerSpec | None) -> str:
    return "unknown" if spec is None else f"{spec.kind}, sha256 {spec.sha256[:12]}…"


def _merge(
    name: str, one: RecordSchema, other_name: str, other: RecordSchema
) -> RecordSchema:
    for role in {*one.features} & {*other.features}:
        mine, theirs = one.features[role], other.features[role]
        if mine._replace(role="") != theirs._replace(role=""):
            raise UsageError(
                f"{name} and {other_name} hold different features for {role}: "
                f"{mine.key} ({mine.dtype}) and {theirs.key} ({theirs.dtype})"
            )
    formats = {one.image_format, other.image_format}
    if len(formats) > 1 and any(map(needs_size, formats)):
        raise UsageError(
            f"{name} and {other_name} store images as {one.image_format} and "
            f"{other.image_format}: raw pixels cannot be mixed with encoded images"
        )
    return RecordSchema(
        features={k: v for k, v in one.features.items() if k in other.features},
        image_format=one.image_format if len(formats) == 1 else None,
        tokenizer=one.tokenizer,
        width=_tally(one.width, other.width),
        height=_tally(one.height, other.height),
        captions=_tally(one.captions, other.captions),
        caption_tokens=_tally(one.caption_tokens, other.caption_tokens),
    )


def _tally(one: Tally | None, other: Tally | None) -> Tally | None:
    return None if one is None or other is None else one.merge(other)
