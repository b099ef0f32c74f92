"""Intact records that nothing can be made of: told by name when TensorFlow met one."""

import re
from collections.abc import Iterator, Mapping

import tensorflow as tf

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, parse_example
from reader.contract.schema import (
    IMAGE_FORMAT,
    STORED_FORMATS,
    Feature,
    display_path,
    needs_size,
)
from reader.datasets.record_index import RecordIndex, ShardFile
from reader.decode.examples import feature_spec
from reader.records.damaged_records import unusable
from reader.schedule.windows import Windows
from reader.shuffle.order import NO_RECORD
from reader.storage.files import read_bytes

# What TensorFlow says of a record that it could not parse.
_OF_FEATURE = re.compile(r"(?:Feature|Key): (.+?)(?: \(data type|, Index: |\.  )")
# Records that are worked on together may be of several batches.
_WORKED_ON = 64


def find_undecodable(
    error: tf.errors.InvalidArgumentError,
    windows: Windows,
    iterator: int,
    begin: int,
    num: int,
) -> DatasetError | None:
    """Returns what to raise in the place of an error of TensorFlow's, or None.

    Records are read again, in their order, until there is one to blame.

    Args:
        error: What TensorFlow raised.
        windows: What was being read.
        iterator: The number of the iterator.
        begin: How many of its examples were delivered.
        num: How many more were wanted.
    """
    match = _OF_FEATURE.search(error.message)
    key = match[1] if match else None
    for number in _candidates(windows, iterator, begin, begin + num + _WORKED_ON):
        blamed = _blamed(windows.index, number, key)
        if blamed is not None:
            return blamed
    return None


def _candidates(windows: Windows, iterator: int, begin: int, end: int) -> Iterator[int]:
    """Yields the numbers of records that may have been worked on."""
    first = 0
    for window in windows.of_iterator(iterator):
        if first >= end:
            return
        start, stop = window.keep
        last = first + stop - start
        if last > begin:
            # What is sorted comes from anywhere in its window.
            part = slice(max(0, begin - first), end - first)
            numbers = window.numbers if windows.sorted else window.numbers[part]
            yield from (n for n in numbers.tolist() if n != NO_RECORD)
        first = last


def _blamed(index: RecordIndex, number: int, key: str | None) -> DatasetError | None:
    which, place = index.locate(number)
    shard = index.shards[which]
    begin, end = index.offsets(which)[place : place + 2].tolist()
    record = read_bytes(shard.path, begin, end - begin)[HEADER.size : -FOOTER.size]
    try:
        values = parse_example(record)
    except ValueError as error:
        return unusable(shard.path, begin, None, str(error))
    features = shard.features
    if key is not None:
        named = (feature for feature in features.values() if feature.key == key)
        whys = (_misfit(record, each, values.get(key, [])) for each in named)
        why = next(filter(None, whys), None)
    elif "image" in features and not _is_pixels(shard, values):
        why = _undecodable(values.get(features["image"].key, []))
    else:
        why = None
    if why is None:
        return None
    keys = values.get(features["key"].key, []) if "key" in features else []
    shown = display_path(keys[0]) if keys and isinstance(keys[0], bytes) else None
    return unusable(shard.path, begin, shown, why)


def _is_pixels(shard: ShardFile, values: Mapping[str, list[object]]) -> bool:
    """Tells whether an image is bare pixels, which only our own datasets hold."""
    stored = {name.encode() for name in STORED_FORMATS if needs_size(name)}
    return shard.has_manifest and not stored.isdisjoint(values.get(IMAGE_FORMAT, []))


def _misfit(record: bytes, feature: Feature, values: list[object]) -> str | None:
    """Returns in which way a record does not hold a feature, or None."""
    try:
        tf.io.parse_single_example(record, {feature.key: feature_spec(feature)})
    except tf.errors.InvalidArgumentError:
        (wanted,) = feature.shape or (1,)
        if wanted is not None and len(values) != wanted:
            return f"it holds {len(values)} values of {feature.key}, not {wanted}"
        return f"its {feature.key} is not {feature.dtype}"
    return None


def _undecodable(values: list[object]) -> str | None:
    """Returns why an image does not decode, or None."""
    for value in values:
        try:
            tf.io.decode_image(value, channels=3, expand_animations=False)
        except tf.errors.InvalidArgumentError as error:
            return f"its image does not decode: {_plain(error.message)}"
    return None


def _plain(message: str) -> str:
    """Returns what an error of TensorFlow's says, without where in TensorFlow."""
    text = re.sub(r"\{\{.*?\}\}", "", message)
    return text.partition(" [Op:")[0].strip().rstrip(".")
