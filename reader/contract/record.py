"""A record: a `tf.train.Example` and its framing in a TFRecord file.

A TFRecord file is a sequence of framed records without gaps. A framed record is

    bytes   type     content
    8       uint64   n, the length of the data; little-endian
    4       uint32   masked CRC-32C of those 8 bytes; little-endian
    n                data: a serialized `tf.train.Example`
    4       uint32   masked CRC-32C of the data; little-endian

The protobuf messages are declared here, in a private descriptor pool. So neither the
job nor the reader needs TensorFlow to build or parse a record, and the message names do
not collide with TensorFlow's in a process that imports it.
"""

import functools
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
)
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from reader.contract.schema import Dtype, Feature, Values

Bytes = NDArray[np.uint8]

_FIELDS: dict[Dtype, str] = {
    "bytes": "bytes_list",
    "float32": "float_list",
    "int64": "int64_list",
    "float16": "bytes_list",
}
# Little-endian halves.
_HALF = np.dtype("<f2")

# https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
FRAMING_BYTES = HEADER.size + FOOTER.size


def _field(name: str, number: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "number": number, "type": f"TYPE_{kind}", **more}


def _list(name: str, kind: str) -> dict[str, Any]:
    values = _field("value", 1, kind, label="LABEL_REPEATED")
    return {"name": name, "field": [values]}


# tensorflow/core/example/{example,feature}.proto, field for field.
_PROTO = {
    "name": "diptych/example.proto",
    "package": "diptych",
    "syntax": "proto3",
    "messageType": [
        _list("BytesList", "BYTES"),
        _list("FloatList", "FLOAT"),
        _list("Int64List", "INT64"),
        {
            "name": "Feature",
            "oneofDecl": [{"name": "kind"}],
            "field": [
                _field(field, number, "MESSAGE", typeName=of, oneofIndex=0)
                for number, (field, of) in enumerate(
                    (
                        ("bytes_list", "BytesList"),
                        ("float_list", "FloatList"),
                        ("int64_list", "Int64List"),
                    ),
                    start=1,
                )
            ],
        },
        {
            "name": "Features",
            "nestedType": [
                {
                    "name": "FeatureEntry",
                    "options": {"mapEntry": True},
                    "field": [
                        _field("key", 1, "STRING"),
                        _field("value", 2, "MESSAGE", typeName="Feature"),
                    ],
                }
            ],
            "field": [
                _field(
                    "feature",
                    1,
                    "MESSAGE",
                    typeName="FeatureEntry",
                    label="LABEL_REPEATED",
                )
            ],
        },
        {
            "name": "Example",
            "field": [_field("features", 1, "MESSAGE", typeName="Features")],
        },
    ],
}


def _declare_example() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(_PROTO, descriptor_pb2.FileDescriptorProto()))
    descriptor = pool.FindMessageTypeByName("diptych.Example")
    return message_factory.GetMessageClass(descriptor)


_Example = _declare_example()


def serialize_example(features: Mapping[str, tuple[Dtype, Values]]) -> bytes:
    """Serializes `{key: (dtype, values)}` as a `tf.train.Example`.

    The bytes are deterministic: the map is in the order of its keys' bytes. Protobuf's
    default `SerializeToString()` orders maps differently in each process.
    """
    example = _Example()
    for key, (dtype, values) in features.items():
        stored = [dump_halves(values)] if dtype == "float16" else values
        getattr(example.features.feature[key], _FIELDS[dtype]).value.extend(stored)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def dump_halves(values: Sequence[Any] | NDArray[np.floating[Any]]) -> bytes:
    """Serializes numbers as the only value of a `float16` feature."""
    return np.asarray(values, _HALF).tobytes()


def parse_halves(data: bytes) -> NDArray[np.float16]:
    """Returns float16[n], the numbers of a `float16` feature's only value.

    Raises:
        ValueError: The length of the data is not a multiple of 2 bytes.
    """
    return np.frombuffer(data, _HALF).astype(np.float16, copy=False)


def parse_example(
    data: bytes, keys: Collection[str] | None = None
) -> dict[str, list[Any]]:
    """Parses a `tf.train.Example` into `{key: values}`.

    Args:
        data: Serialized Example.
        keys: Keys of the features to return, if they are there; None for all.

    Raises:
        ValueError: The bytes are not a `tf.train.Example`.
    """
    try:
        example = _Example.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    parsed: dict[str, list[Any]] = {}
    features = example.features.feature
    for key in features if keys is None else keys:
        if key not in features:  # To look it up would add it.
            continue
        feature = features[key]
        kind = feature.WhichOneof("kind")
        parsed[key] = list(getattr(feature, kind).value) if kind else []
    return parsed


def parse_features(data: bytes, features: Sequence[Feature]) -> dict[str, list[Any]]:
    """Parses features of a `tf.train.Example` into `{key: values}`.

    As in TensorFlow, a missing feature has no values.

    Raises:
        ValueError: The bytes are not a `tf.train.Example`, or a feature has another
            type or number of values.
    """
    try:
        found = _Example.FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    parsed = {}
    for key, dtype, shape, _ in features:
        values: list[Any] = []
        if key in found:  # To look it up would add it.
            feature = found[key]
            values = list(getattr(feature, _FIELDS[dtype]).value)
            if not values and feature.WhichOneof("kind") not in (None, _FIELDS[dtype]):
                raise ValueError(f"its {key} is not {dtype}")
            if dtype == "float16" and len(values) == 1:
                values = parse_halves(values[0]).tolist()
        if None not in shape and len(values) != (num := math.prod(shape)):  # type: ignore[arg-type]
            raise ValueError(f"it holds {len(values)} values of {key}, not {num}")
        parsed[key] = values
    return parsed


def whole_numbers(data: bytes, keys: Sequence[str]) -> list[int]:
    """Returns the only values of int64 features of a `tf.train.Example`.

    Raises:
        ValueError: The bytes are not a `tf.train.Example`, or a feature does not have
            exactly one such value.
    """
    try:
        features = _Example.FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    numbers: list[int] = []
    for key in keys:
        values: Sequence[int] = ()
        if key in features:  # To look up a key that is missing would add it.
            values = features[key].int64_list.value
        if len(values) != 1:
            raise ValueError(f"feature {key} must have exactly one int64 value")
        numbers.append(values[0])
    return numbers


def masked_crc32c(data: bytes | Bytes) -> int:
    """Returns the checksum that TFRecord stores.

    It is the CRC-32C rotated right by 15 bits, plus 0xA282EAD8, modulo 2³².
    """
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c_hex(data: bytes) -> str:
    """Returns the CRC-32C of bytes, not masked, as 8 hex digits."""
    return f"{google_crc32c.value(data):08x}"


def frame_record(data: bytes) -> tuple[bytes, bytes]:
    """Returns the 12-byte header and 4-byte footer that frame a record's bytes."""
    length = struct.pack("<Q", len(data))
    header = length + FOOTER.pack(masked_crc32c(length))
    return header, FOOTER.pack(masked_crc32c(data))


# Protobuf tags of length-delimited fields with the numbers 1 and 2.
_FIRST, _SECOND = 0x0A, 0x12
# A varint has ten bytes at most, of seven bits each.
_LONGEST_SHIFT = 63


class Found(NamedTuple):
    """Position of a feature's value in the bytes of an Example.

    Attributes:
        begin: Byte offset of the value's first byte.
        end: Byte offset after the value's last byte.
        rest: Serialized Example without that feature. What follows the message that
            held it, such as the record of a layer, is kept.
    """

    begin: int
    end: int
    rest: bytes


def find_value(data: memoryview, key: bytes) -> Found:
    """Finds the only value of a bytes feature in a serialized Example.

    Raises:
        ValueError: The feature is missing, it does not have exactly one value, or the
            data is not an Example as protobuf serializes it.
    """
    try:
        return _find(data, key)
    except IndexError:
        raise ValueError("not a tf.train.Example: the data is truncated") from None


def _find(data: memoryview, key: bytes) -> Found:
    first, end = _inside(data, 0, _FIRST)
    place, name = first, _key_field(key)
    while place < end:
        entry, next_entry = _inside(data, place, _FIRST)
        if data[entry : entry + len(name)] == name:
            value, value_end = _single(data[:next_entry], entry + len(name), key)
            before, after = data[first:place], data[next_entry:end]
            length = _varint(len(before) + len(after))
            rest = b"".join((b"\n", length, before, after, data[end:]))
            return Found(value, value_end, rest)
        place = next_entry
    raise ValueError(f"feature {key.decode()} is missing")


@functools.lru_cache(64)
def _key_field(key: bytes) -> bytes:
    """Returns the first bytes of the entry of a feature in a serialized Example."""
    return b"".join((b"\n", _varint(len(key)), key))


def _single(data: memoryview, place: int, key: bytes) -> tuple[int, int]:
    """Returns begin and end of a feature's only value, which must end `data`."""
    feature, end = _inside(data, place, _SECOND)
    values, _ = _inside(data, feature, _FIRST) if feature < end else (end, end)
    value, value_end = _inside(data, values, _FIRST) if values < end else (end, -1)
    if value_end != len(data):
        raise ValueError(f"feature {key.decode()} must have exactly one value")
    return value, value_end


def _inside(data: memoryview, place: int, tag: int) -> tuple[int, int]:
    """Returns begin and end of the content of a length-delimited field."""
    if data[place] != tag:
        raise ValueError(
            f"not a tf.train.Example: unexpected tag {data[place]} at byte {place}"
        )
    length, begin, shift = data[place + 1], place + 2, 0
    while length >> shift >= 0x80:  # The top bit: another byte follows.
        shift += 7
        if shift > _LONGEST_SHIFT:
            raise ValueError(f"not a tf.train.Example: no length at byte {place + 1}")
        length += (data[begin] - 1) << shift
        begin += 1
    end = begin + length
    if end > len(data):
        raise ValueError("not a tf.train.Example: the data is truncated")
    return begin, end


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
