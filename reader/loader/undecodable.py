"""Names the record that TensorFlow failed to parse or decode."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from reader.contract.errors import DatasetError
from reader.contract.record import FOOTER, HEADER, parse_example, parse_features
from reader.contract.schema import Feature, display_path
from reader.datasets.record_index import RecordIndex
from reader.decode.examples import feature_spec
from reader.pixels.engine import PixelEngine
from reader.pixels.errors import PixelsError
from reader.records.damaged_records import to_blame, unusable
from reader.schedule.windows import Windows
from reader.shuffle.order import NO_RECORD
from reader.storage.files import read_bytes

# Part of TensorFlow's parse errors that names the feature.
_FEATURE_IN_MESSAGE = re.compile(
    r"(?:Feature|Key): (.+?)(?: \(data type|, Index: |\.  )"
)
# Maximum number of records per chunk. A chunk may span several batches.
_MOST_PER_CHUNK = 64


def find_undecodable(
    error: tf.errors.InvalidArgumentError,
    windows: Windows,
    engine: PixelEngine | None,
    iterator: int,
    begin: int,
    num: int,
) -> DatasetError | None:
    """Returns the DatasetError to raise instead of a TensorFlow error, or None.

    Reads the records again, in their order, until one fails to parse or decode. Returns
    None if no record fails.

    Args:
        error: Error that TensorFlow raised.
        windows: Windows of records that were being read.
        engine: Engine that makes the images; None without images.
        iterator: Index of the iterator, from 0.
        begin: Number of examples that the iterator had delivered.
        num: Number of examples in the batch that failed.
    """
    match = _FEATURE_IN_MESSAGE.search(error.message)
    key = match[1] if match else None
    for number in _candidates(windows, iterator, begin, begin + num + _MOST_PER_CHUNK):
        found = _check_record(windows.index, engine, number, key)
        if found is not None:
            return found
    return None


def _candidates(windows: Windows, iterator: int, begin: int, end: int) -> Iterator[int]:
    """Yields the numbers of the records that may have been processed."""
    first = 0
    for window in windows.of_iterator(iterator):
        if first >= end:
            return
        last = first + len(window.keep)
        if last > begin:
            # A sorted window delivers its records in another order.
            part = window.keep[max(0, begin - first) : end - first]
            numbers = window.numbers if windows.sorted else window.numbers[part]
            yield from (n for n in numbers.tolist() if n != NO_RECORD)
        first = last


def _check_record(
    index: RecordIndex, engine: PixelEngine | None, number: int, key: str | None
) -> DatasetError | None:
    """Returns an error if a record does not parse or decode.

    Args:
        index: Index of the records.
        engine: Engine that makes the images; None without images.
        number: Number of the record.
        key: Feature that TensorFlow failed to parse; None if unknown.
    """
    spans = index.spans(number)
    framed = [read_bytes(path, begin, end - begin) for path, begin, end in spans]
    record = index.joined([each[HEADER.size : -FOOTER.size] for each in framed])
    features = index.shards[index.locate(number)[0]].features
    span, why = to_blame(index, spans)
    try:
        values = parse_example(record)
    except ValueError as error:
        return unusable(span.path, span.begin, None, why or str(error))
    if why is None and key is not None:
        named = (feature for feature in features.values() if feature.key == key)
        whys = (_misfit(record, each, values.get(key, [])) for each in named)
        why = next(filter(None, whys), None)
    elif why is None:
        why = _wrong_halves(record, features)
        if why is None and engine is not None:
            why = _undecodable(engine, features, values)
    if why is None:
        return None
    keys = values.get(features["key"].key, []) if "key" in features else []
    shown = display_path(keys[0]) if keys and isinstance(keys[0], bytes) else None
    return unusable(span.path, span.begin, shown, why)


def _misfit(record: bytes, feature: Feature, values: list[object]) -> str | None:
    """Returns why TensorFlow cannot parse a feature of a record, or None."""
    try:
        tf.io.parse_single_example(record, {feature.key: feature_spec(feature)})
    except tf.errors.InvalidArgumentError:
        (wanted,) = feature.shape or (1,)
        if wanted is not None and len(values) != wanted:
            return f"it holds {len(values)} values of {feature.key}, not {wanted}"
        return f"its {feature.key} is not {feature.dtype}"
    return None


def _wrong_halves(record: bytes, features: Mapping[str, Feature]) -> str | None:
    """Returns which `float16` feature has another number of values, or None."""
    halves = [each for each in features.values() if each.dtype == "float16"]
    try:
        parse_features(record, halves)
    except ValueError as error:
        return str(error)
    return None


def _undecodable(
    engine: PixelEngine,
    features: Mapping[str, Feature],
    values: Mapping[str, list[Any]],
) -> str | None:
    """Returns why the image of a record cannot be made, or None."""
    image, *sides = (
        values[features[role].key][0]
        for role in ("image", "height", "width")
        if role in features
    )
    size = None if engine.image_format is None else (sides[0], sides[1])
    num_draws = sum(engine.images.num_draws.values())
    try:
        engine.make_one(image, size, np.zeros((1, num_draws)))
    except PixelsError as error:
        return str(error)
    return None
