"""Infers the record schema of foreign TFRecords.

Feature keys come from the `features` argument of `load` or from well-known names.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from reader.contract.errors import DatasetError, UsageError
from reader.contract.record import parse_example
from reader.contract.schema import Dtype, Feature
from reader.datasets.record_schema import RecordSchema

# Names that `features=` of `load` accepts → roles of these features.
ROLES = {
    "image": "image",
    "caption": "captions",
    "ids": "token_ids",
    "lengths": "token_lengths",
    "key": "key",
    "height": "height",
    "width": "width",
}
# Well-known feature keys: TensorFlow's Model Garden, TFDS, and Show and Tell.
_USUAL = {
    "image": ("image/encoded", "image", "image/data", "image_raw", "jpg", "png"),
    "caption": (
        "image/caption",
        "caption",
        "captions",
        "captions/text",
        "caption/text",
        "text",
        "txt",
    ),
    "ids": ("caption/ids", "image/caption_ids"),
    "lengths": ("caption/lengths",),
    "key": (
        "image/source_id",
        "image/image_id",
        "image/filename",
        "image/id",
        "key",
        "filename",
        "file_name",
        "image_id",
        "id",
    ),
    "height": ("image/height",),
    "width": ("image/width",),
}
_DTYPES: dict[str, Dtype] = {
    "image": "bytes",
    "caption": "bytes",
    "ids": "int64",
    "lengths": "int64",
    "key": "bytes",
    "height": "int64",
    "width": "int64",
}
# Roles whose features may have any number of values in a record, including zero.
_ANY_NUMBER = ("captions", "token_ids", "token_lengths")
_TYPES: dict[type, Dtype] = {bytes: "bytes", int: "int64", float: "float32"}


def record_schema_of_records(
    records: Sequence[bytes], named: Mapping[str, str] | None, where: str
) -> RecordSchema:
    """Returns the schema of records: features in `named`, then well-known keys.

    Args:
        records: Sample of the records, starting with the first record.
        named: Feature keys by name, as in the `features` argument of `load`.
        where: Name of the files in messages.

    Raises:
        DatasetError: The first record is not a `tf.train.Example`.
        UsageError: A feature in `named` does not exist or has another type.
    """
    examples = parsed_records(records, where)
    held = _values_held(examples)
    everywhere = set.intersection(*({*example} for example in examples))
    found: dict[str, Feature] = {}
    for name, role in ROLES.items():
        key = (named or {}).get(name)
        if key is not None:
            _check_named(name, key, held, where)
        else:
            key = _usual(name, held, everywhere)
        if key is not None:
            shape = (None,) if role in _ANY_NUMBER else ()
            found[role] = Feature(key, _DTYPES[name], shape, role)
    _check_lengths(examples, found, named, where)
    return RecordSchema(features=found)


def parsed_records(records: Sequence[bytes], where: str) -> list[dict[str, list[Any]]]:
    """Returns the parsed examples of records, without records that do not parse.

    Args:
        records: Sample of the records, starting with the first record.
        where: Name of the files in messages.

    Raises:
        DatasetError: The first record is not a `tf.train.Example`.
    """
    examples = []
    for place, record in enumerate(records):
        try:
            examples.append(parse_example(record))
        except ValueError as error:
            if not place:
                raise DatasetError(f"{where}: the first record is {error}") from error
            # Reading the record reports its path and byte offset.
    return examples


def _values_held(examples: Iterable[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Returns the first non-empty values of each feature, or [] if all are empty."""
    held: dict[str, list[Any]] = {}
    for example in examples:
        for key, values in example.items():
            held[key] = held.get(key) or values
    return held


def _usual(
    name: str, held: Mapping[str, list[Any]], everywhere: Set[str]
) -> str | None:
    """Returns the first well-known key that the records hold, or None."""
    fitting = [key for key in _USUAL[name] if _fits(name, held.get(key))]
    if ROLES[name] not in _ANY_NUMBER:
        # Reading fails on a record without this feature: prefer a key in all examples.
        fitting.sort(key=lambda key: key not in everywhere)
    return next(iter(fitting), None)


def _check_lengths(
    examples: Sequence[Mapping[str, list[Any]]],
    found: dict[str, Feature],
    named: Mapping[str, str] | None,
    where: str,
) -> None:
    """Drops caption lengths that do not add up to the number of ids.

    Without lengths, all ids of a record are one caption.

    Raises:
        UsageError: `named` names these lengths explicitly.
    """
    if "token_lengths" not in found:
        return
    lengths, ids = found["token_lengths"].key, found.get("token_ids")
    if ids is not None and all(
        _add_up(example.get(lengths, []), example.get(ids.key, []))
        for example in examples
    ):
        return
    if "lengths" in (named or {}):
        raise UsageError(
            f'features maps lengths to "{lengths}", which does not add up to '
            f"the ids in {where}"
        )
    del found["token_lengths"]


def _add_up(lengths: list[Any], ids: list[Any]) -> bool:
    whole = all(isinstance(length, int) and length >= 0 for length in lengths)
    return whole and sum(lengths) == len(ids)


def _fits(name: str, values: list[Any] | None) -> bool:
    return (
        values is not None
        and len(values) > 0
        and (_TYPES[type(values[0])] == _DTYPES[name])
    )


def _check_named(name: str, key: str, held: Mapping[str, Any], where: str) -> None:
    if key not in held:
        raise UsageError(
            f'features maps {name} to "{key}", but the first records of {where} '
            f"hold {', '.join(sorted(held))}"
        )
    if not _fits(name, held[key]):
        other = _TYPES[type(held[key][0])] if held[key] else "nothing"
        raise UsageError(
            f'features maps {name} to "{key}", which holds {other} in {where}, '
            f"not {_DTYPES[name]}"
        )


def check_features(features: object) -> Mapping[str, str] | None:
    """Returns the `features` argument of the caller after checking it.

    Raises:
        UsageError: `features` is not a mapping from known names to feature keys.
    """
    if features is None:
        return None
    known = ", ".join(ROLES)
    if not isinstance(features, Mapping):
        raise UsageError(
            f'features must be a mapping such as {{"image": "image/encoded"}}, '
            f"got {features!r}"
        )
    for name, key in features.items():
        if name not in ROLES or not isinstance(key, str):
            raise UsageError(
                f"features maps {known} to keys of features, got {name!r}: {key!r}"
            )
    return features
