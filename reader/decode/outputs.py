"""Validates a ReadConfig against the record schema before reading."""

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Sequence

from reader.config import defaults
from reader.config.read_config import CaptionWeights, ReadConfig
from reader.contract.additions.layer import present_feature
from reader.contract.checks import did_you_mean
from reader.contract.errors import UsageError
from reader.contract.manifest import TokenizerSpec
from reader.contract.schema import BASE_CAPTIONS, EXTRA, check_stored_format, is_column
from reader.datasets.record_schema import TOKEN_ROLES, RecordSchema, same_tokenizer
from reader.decode.named_captions import (
    CAPTION_ROLES,
    NAMES,
    CaptionGroup,
    caption_groups,
    drawn_groups,
    roles_of_groups,
)

_LOG = logging.getLogger("reader")

# For each output: the roles that it requires, and the roles that it uses if present.
TOKEN_OUTPUTS = ("tokens", "mask", "length")
_TOKENS = (TOKEN_ROLES[:1], TOKEN_ROLES[1:])
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (("image",), ("height", "width")),
    "encoded": (("image",), ()),
    **dict.fromkeys(TOKEN_OUTPUTS, _TOKENS),
    "key": (("key",), ()),
    "caption": (("captions",), ()),
    "caption_valid": (("captions",), ()),
    "caption_name": (("captions",), (NAMES,)),
    "height": (("height",), ()),
    "width": (("width",), ()),
    "dataset": ((), ()),
    "valid": ((), ()),
    "draws": ((), ()),
}


def roles_of(record_schema: RecordSchema, config: ReadConfig) -> list[str]:
    """Returns the feature roles to parse for the configured outputs."""
    needs = [_needs(name, record_schema) for name in config.names]
    wanted = [role for roles in needs for part in roles for role in part]
    roles = [role for role in dict.fromkeys(wanted) if role in record_schema.features]
    weights = config.caption_weights
    if weights is None:
        return roles
    return _roles_of_named(roles, record_schema, weights)


def length_roles(record_schema: RecordSchema, config: ReadConfig) -> list[str]:
    """Returns the roles that give the lengths of captions, and which are drawn."""
    features = record_schema.features
    roles = [next(role for role in reversed(TOKEN_ROLES) if role in features)]
    weights = config.caption_weights
    if weights is None:
        return roles
    return _roles_of_named(roles, record_schema, weights)


def _roles_of_named(
    roles: list[str], record_schema: RecordSchema, weights: CaptionWeights
) -> list[str]:
    """Returns roles with those of the named captions in place of a record's own."""
    own = [role for role in roles if role in CAPTION_ROLES]
    others = [role for role in roles if role not in own and role != NAMES]
    groups = drawn_groups(record_schema, weights)
    return [*others, *roles_of_groups(groups, own)]


def fit(config: ReadConfig, record_schema: RecordSchema) -> ReadConfig:
    """Returns the configuration, completed with values from the record schema.

    Fills in the image size if it is not given, the number of captions for
    `caption="all"`, and the default outputs that the records do not provide.

    Raises:
        UsageError: The records do not provide a requested output, the sources differ in
            it, or a required argument such as `image_size` is missing.
        DatasetError: This version does not support the stored image format.
    """
    sorted_by = ("length",) if config.bucket_by_length else ()
    check_conflicts((*config.names, *sorted_by), record_schema)
    if config.outputs is None:
        absent = [name for name in config.names if missing(name, record_schema)]
        if "image" not in absent:
            config = dataclasses.replace(config, absent=tuple(absent))
    for name in config.names:
        if missing(name, record_schema):
            raise UsageError(not_held(name, record_schema))
    if config.bucket_by_length and "token_ids" not in record_schema.features:
        raise UsageError("bucket_by_length needs token ids, but the records have none")
    if config.caption == "all":
        num = _max_captions(record_schema, config)
        config = dataclasses.replace(config, max_captions=num)
    check_caption_names(config, record_schema)
    check_tokens(config, record_schema)
    return _fit_images(config, record_schema) if "image" in config.names else config


def check_caption_names(config: ReadConfig, record_schema: RecordSchema) -> None:
    """Checks that records have the names of captions that are asked for.

    Raises:
        UsageError: The captions have no names or other ones, or were tokenized by
            different tokenizers.
    """
    weights = config.caption_weights
    if weights is None:
        if "caption_name" in config.names and NAMES not in record_schema.features:
            raise UsageError(no_names("outputs names caption_name"))
        return
    groups = caption_groups(record_schema)
    if NAMES not in record_schema.features and {*groups} <= {BASE_CAPTIONS}:
        raise UsageError(no_names(f"caption names {', '.join(weights)}"))
    own = record_schema.caption_names if NAMES in record_schema.features else ()
    known = dict.fromkeys((*own, *groups))
    for name in weights:
        if name not in known:
            hint = did_you_mean(name, known, otherwise="use these")
            raise UsageError(
                f'caption names "{name}", but the captions are named '
                f"{', '.join(known)}: {hint}"
            )
    if {*TOKEN_OUTPUTS} & {*config.names} or config.bucket_by_length:
        _check_one_tokenizer(record_schema, drawn_groups(record_schema, weights))


def no_names(what: str) -> str:
    """Returns the error message for names of captions that records do not have."""
    return (
        f"{what}, but the captions of these records have no names: build the dataset "
        "with --caption_columns, --caption_names or --caption_files, or read a layer "
        "of captions with it"
    )


def _check_one_tokenizer(
    record_schema: RecordSchema, groups: Sequence[CaptionGroup]
) -> None:
    """Checks that captions that are drawn from have the same tokenizer."""
    own = record_schema.tokenizer
    tokenizers = {
        group.name: record_schema.layer_tokenizers.get(group.name, own)
        for group in groups
    }
    for name, tokenizer in tokenizers.items():
        if not same_tokenizer(tokenizer, own):
            raise UsageError(
                f"caption names {name}, whose captions were tokenized by another "
                "tokenizer than the dataset's, so equal ids mean different words: make "
                "a layer of these captions with the dataset's tokenizer, by `diptych "
                f"layer --tokenizer`, or leave tokens out of outputs"
            )


def _fit_images(config: ReadConfig, record_schema: RecordSchema) -> ReadConfig:
    check_stored_format(record_schema.image_format)
    if config.images.size is not None:
        return config
    size, width, height = (
        record_schema.stored_size,
        record_schema.width,
        record_schema.height,
    )
    if width is None or height is None:
        raise UsageError(
            "image_size must be given: the sizes of the stored images are unknown"
        )
    if size is None:
        raise UsageError(
            "image_size must be given: stored images are "
            f"{width.min} to {width.max} pixels wide and {height.min} to "
            f"{height.max} high"
        )
    images = dataclasses.replace(config.images, size=size, crop="none")
    return dataclasses.replace(config, images=images)


def _max_captions(record_schema: RecordSchema, config: ReadConfig) -> int:
    """Returns the number of captions per example for `caption="all"`.

    Raises:
        UsageError: `max_captions` is None and the records do not state the number.
    """
    if config.max_captions is not None:
        return config.max_captions
    if record_schema.captions is None:
        raise UsageError(
            'caption="all" needs max_captions: the number of captions per example is '
            "unknown for these records"
        )
    return max(1, record_schema.captions.max)


def pad_id(spec: TokenizerSpec | None) -> int:
    """Returns the id that pads rows; 0 if the tokenizer is unknown."""
    return 0 if spec is None else spec.pad_id


def bucket_width(longest: int) -> int:
    """Returns the width of token rows with `bucket_by_length`: a multiple of 8.

    Fewer distinct shapes mean fewer recompilations of a compiled model.

    Args:
        longest: Largest number of tokens in a row; may be a tensor.
    """
    return -(-longest // 8) * 8


def special_tokens(
    spec: TokenizerSpec | None, config: ReadConfig
) -> tuple[list[int], list[int]]:
    """Returns the token ids to put before and after a caption.

    Each list holds one id, or is empty if the tokenizer is unknown or does not define
    that token, or if `add_special_tokens` is False.
    """
    ids: tuple[int | None, int | None] = (None, None)
    if spec is not None and config.add_special_tokens:
        ids = (spec.start_id, spec.end_id)
    start, end = ([] if id_ is None else [id_] for id_ in ids)
    return start, end


def check_tokens(config: ReadConfig, record_schema: RecordSchema) -> None:
    """Checks that `max_tokens` has room for the start and end tokens.

    Logs a warning if `max_tokens` exceeds the longest caption, unless it has its
    default value.

    Raises:
        UsageError: `max_tokens` is less than the number of start and end tokens.
    """
    start, end = special_tokens(record_schema.tokenizer, config)
    at_least = len(start) + len(end)
    if config.max_tokens < at_least:
        raise UsageError(
            f"max_tokens must be at least {at_least}, to hold the start and end "
            f"tokens, got {config.max_tokens}"
        )
    stored = record_schema.caption_tokens
    if stored is None or "tokens" not in config.names:
        return
    longest = stored.max + at_least
    if config.max_tokens != defaults.MAX_TOKENS and config.max_tokens > longest:
        _LOG.warning(
            "max_tokens is %d, but the longest caption has %d tokens, including start "
            "and end tokens: lower max_tokens, the rest of each row is padding",
            config.max_tokens,
            longest,
        )


def check_conflicts(names: Iterable[str], record_schema: RecordSchema) -> None:
    """Checks that merged sources agree in everything that the outputs need.

    Raises:
        UsageError: The sources differ, for example in their tokenizers.
    """
    needs = (_needs(name, record_schema) for name in names)
    for role in itertools.chain.from_iterable(itertools.chain.from_iterable(needs)):
        if role in record_schema.conflicts:
            raise UsageError(record_schema.conflicts[role])


def missing(name: str, record_schema: RecordSchema) -> list[str]:
    """Returns the feature roles that an output requires and the records lack."""
    needed, _ = _needs(name, record_schema)
    return [role for role in needed if role not in record_schema.features]


def _needs(
    name: str, record_schema: RecordSchema
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the roles that an output requires, and its optional roles."""
    if name == "image" and record_schema.image_format is None:
        return ("image",), ()  # Sizes are read from the images themselves.
    if name == "caption_valid" and "captions" not in record_schema.features:
        return _TOKENS
    return _NEEDS.get(name, ((name,), ()))


def not_held(name: str, record_schema: RecordSchema) -> str:
    """Returns the error message for an output that the records do not provide."""
    if name.startswith(EXTRA):
        columns = ", ".join(record_schema.extras) or "no columns"
        return (
            f"outputs names {name}, but the dataset has {columns}: build it with "
            "--columns"
        )
    if is_column(name):
        columns = ", ".join(record_schema.added) or "nothing"
        layer = name.rpartition("/")[0]
        is_read = present_feature(layer).key in record_schema.features
        advice = "name one of these" if is_read else f"pass layers={layer!r} too"
        return (
            f"outputs names {name}, but the layers that are read add {columns}: "
            f"{advice}"
        )
    keys = (
        ", ".join(feature.key for feature in record_schema.features.values())
        or "nothing"
    )
    return (
        f"outputs names {name}, but no known feature of the records ({keys}) provides "
        'it: pass its name, as in features={"image": …, "caption": …, "ids": …}'
    )
