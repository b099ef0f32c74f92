"""A configuration, held against what the records hold: before anything is read."""

import dataclasses
import logging

from reader.config.read_config import DEFAULT_MAX_TOKENS, ReadConfig, is_extra
from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import TokenizerSpec
from reader.contract.schema import STORED_FORMATS
from reader.datasets.record_schema import RecordSchema

_LOG = logging.getLogger("reader")

# As `reader.decode.images` decodes them.
_FORMATS = (None, *STORED_FORMATS)

# Which roles each output is made of: those it needs, and those it can do without.
_TOKENS = (("token_ids",), ("token_lengths",))
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (("image",), ("height", "width")),
    "tokens": _TOKENS,
    "mask": _TOKENS,
    "length": _TOKENS,
    "key": (("key",), ()),
    "caption": (("captions",), ()),
    "caption_valid": (("captions",), ()),
    "height": (("height",), ()),
    "width": (("width",), ()),
    "valid": ((), ()),
}


def roles_of(record_schema: RecordSchema, config: ReadConfig) -> list[str]:
    """Returns what to parse of each record for what is asked for."""
    needs = [_needs(name, record_schema) for name in config.names]
    wanted = [role for roles in needs for part in roles for role in part]
    return [role for role in dict.fromkeys(wanted) if role in record_schema.features]


def fit(config: ReadConfig, record_schema: RecordSchema) -> ReadConfig:
    """Returns the configuration with what the records decide.

    Raises:
        UsageError: Something is asked for that they do not hold.
        DatasetError: Images are stored in a format that this version does not know.
    """
    if config.outputs is None:
        absent = [name for name in config.names if missing(name, record_schema)]
        if "image" not in absent:
            config = dataclasses.replace(config, absent=tuple(absent))
    for name in config.names:
        if missing(name, record_schema):
            raise UsageError(not_held(name, record_schema))
    if config.bucket_by_length and "token_ids" not in record_schema.features:
        raise UsageError("bucket_by_length needs token ids, and the records hold none")
    if config.caption == "all":
        num = _max_captions(record_schema, config)
        config = dataclasses.replace(config, max_captions=num)
    check_tokens(config, record_schema)
    return _fit_images(config, record_schema) if "image" in config.names else config


def _fit_images(config: ReadConfig, record_schema: RecordSchema) -> ReadConfig:
    check_image_format(record_schema)
    if config.images.size is not None:
        return config
    size, width, height = (
        record_schema.stored_size,
        record_schema.width,
        record_schema.height,
    )
    if width is None or height is None:
        raise UsageError(
            "image_size must be given: how large the stored images are is not known"
        )
    if size is None:
        raise UsageError(
            "image_size must be given: stored images are "
            f"{width.min} to {width.max} pixels wide and {height.min} to "
            f"{height.max} high"
        )
    images = dataclasses.replace(config.images, size=size, crop="none")
    return dataclasses.replace(config, images=images)


def check_image_format(record_schema: RecordSchema) -> None:
    """Refuses images in a format that this version does not know."""
    if record_schema.image_format not in _FORMATS:
        raise DatasetError(
            f'images are stored as "{record_schema.image_format}", which this reader '
            "does not know: upgrade diptych"
        )


def _max_captions(record_schema: RecordSchema, config: ReadConfig) -> int:
    """Returns how many captions of each example `caption="all"` has room for.

    Raises:
        UsageError: It was not said, and is not known.
    """
    if config.max_captions is not None:
        return config.max_captions
    if record_schema.captions is None:
        raise UsageError(
            'caption="all" needs max_captions: how many captions an example has is not '
            "known of these records"
        )
    return max(1, record_schema.captions.max)


def special_tokens(
    spec: TokenizerSpec | None, config: ReadConfig
) -> tuple[list[int], list[int]]:
    """Returns what is put before a caption and after it: a token each, or none.

    An unknown tokenizer has none.
    """
    ids: tuple[int | None, int | None] = (None, None)
    if spec is not None and config.add_special_tokens:
        ids = (spec.start_id, spec.end_id)
    start, end = ([] if id_ is None else [id_] for id_ in ids)
    return start, end


def check_tokens(config: ReadConfig, record_schema: RecordSchema) -> None:
    """Refuses a `max_tokens` without room for start and end; warns of a large one."""
    start, end = special_tokens(record_schema.tokenizer, config)
    at_least = len(start) + len(end)
    if config.max_tokens < at_least:
        raise UsageError(
            f"max_tokens must be at least {at_least}, for the start and the end of a "
            f"caption, got {config.max_tokens}"
        )
    stored = record_schema.caption_tokens
    if stored is None or "tokens" not in config.names:
        return
    longest = stored.max + at_least
    if config.max_tokens != DEFAULT_MAX_TOKENS and config.max_tokens > longest:
        _LOG.warning(
            "max_tokens is %d, but the longest caption has %d tokens, start and end "
            "among them: the rest is padding",
            config.max_tokens,
            longest,
        )


def missing(name: str, record_schema: RecordSchema) -> list[str]:
    """Returns what an output would need and records do not hold."""
    needed, _ = _needs(name, record_schema)
    return [role for role in needed if role not in record_schema.features]


def _needs(
    name: str, record_schema: RecordSchema
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the roles that an output needs, and those it can do without."""
    if name == "image" and record_schema.image_format is None:
        return ("image",), ()  # Each says its own size, and others may not.
    if name == "caption_valid" and "captions" not in record_schema.features:
        return _TOKENS
    return _NEEDS.get(name, ((name,), ()))


def not_held(name: str, record_schema: RecordSchema) -> str:
    """Returns what to say of an output that is missing."""
    if is_extra(name):
        held = ", ".join(record_schema.extras) or "no columns"
        return (
            f"outputs names {name}, but the dataset holds {held}: build it with "
            "--columns"
        )
    keys = (
        ", ".join(feature.key for feature in record_schema.features.values())
        or "nothing"
    )
    return (
        f"outputs names {name}, but of what is known of the records ({keys}) nothing "
        'is that: say which feature is, with features={"image": …, "caption": …, '
        '"ids": …}'
    )
