"""A record: `tf.train.Example` bytes, and their framing in a TFRecord file.

The messages are declared here, in a descriptor pool of our own, so that neither side
needs TensorFlow to build or parse a record, and a process that does import TensorFlow
does not meet the same names twice.
"""

import struct
from collections.abc import Mapping
from typing import Any

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

from reader.contract.schema import Dtype, Values

Bytes = NDArray[np.uint8]

_FIELDS: dict[Dtype, str] = {
    "bytes": "bytes_list",
    "float32": "float_list",
    "int64": "int64_list",
}

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
    """Returns `tf.train.Example` bytes of `{key: (dtype, values)}`.

    Deterministic: protobuf's plain `SerializeToString()` orders maps differently in
    each process.
    """
    example = _Example()
    for key, (dtype, values) in features.items():
        getattr(example.features.feature[key], _FIELDS[dtype]).value.extend(values)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """Returns `{key: values}` of `tf.train.Example` bytes.

    Raises:
        ValueError: The bytes are no such message.
    """
    try:
        example = _Example.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    parsed: dict[str, list[Any]] = {}
    for key, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        parsed[key] = list(getattr(feature, kind).value) if kind else []
    return parsed


def masked_crc32c(data: bytes | Bytes) -> int:
    """Returns the checksum TFRecord stores: CRC-32C, rotated by 15 and offset."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c_hex(data: bytes) -> str:
    """Returns the plain CRC-32C of a file's bytes, as 8 hex digits."""
    return f"{google_crc32c.value(data):08x}"


def frame_record(data: bytes) -> tuple[bytes, bytes]:
    """Returns what precedes and what follows a record's bytes in a TFRecord file."""
    length = struct.pack("<Q", len(data))
    header = length + FOOTER.pack(masked_crc32c(length))
    return header, FOOTER.pack(masked_crc32c(data))
