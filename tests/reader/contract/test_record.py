import math
import struct
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.record import (
    FRAMING_BYTES,
    crc32c_hex,
    frame_record,
    masked_crc32c,
    parse_example,
    serialize_example,
    whole_numbers,
)
from reader.storage.tfrecord_file import read_shard

LISTS = {
    "bytes": lambda values: tf.train.Feature(bytes_list={"value": values}),
    "int64": lambda values: tf.train.Feature(int64_list={"value": values}),
    "float32": lambda values: tf.train.Feature(float_list={"value": values}),
}
TF_TYPES = {"bytes": tf.string, "int64": tf.int64, "float32": tf.float32}

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    "bytes": st.lists(st.binary(max_size=300), max_size=5),
    "int64": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40),
    "float32": st.lists(st.floats(width=32, allow_nan=False), max_size=10),
}
FEATURES = st.dictionaries(
    KEYS,
    st.one_of(*(st.tuples(st.just(dtype), v) for dtype, v in VALUES.items())),
    min_size=1,
    max_size=8,
)


def tensorflow_example(features) -> tf.train.Example:
    by_key = {key: LISTS[dtype](values) for key, (dtype, values) in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=by_key))


@given(FEATURES)
def test_bytes_are_those_of_tensorflows_deterministic_serialization(features):
    expected = tensorflow_example(features).SerializeToString(deterministic=True)
    assert serialize_example(features) == expected


@given(FEATURES)
def test_what_was_serialized_parses_back(features):
    parsed = parse_example(serialize_example(features))
    assert parsed == {key: values for key, (_, values) in features.items()}


@given(FEATURES)
def test_what_tensorflow_serialized_in_any_order_parses(features):
    data = tensorflow_example(features).SerializeToString()
    assert parse_example(data) == {key: v for key, (_, v) in features.items()}


@given(FEATURES)
def test_tensorflows_message_reads_what_was_serialized(features):
    example = tf.train.Example.FromString(serialize_example(features))
    assert example == tensorflow_example(features)


@given(
    st.dictionaries(
        st.text("abcdefgh/_0", min_size=1, max_size=12),
        st.one_of(*(st.tuples(st.just(dtype), v) for dtype, v in VALUES.items())),
        min_size=1,
        max_size=4,
    )
)
def test_tensorflows_parser_reads_what_was_serialized(features):
    spec = {
        key: tf.io.VarLenFeature(TF_TYPES[dtype])
        for key, (dtype, _) in features.items()
    }
    parsed = tf.io.parse_single_example(serialize_example(features), spec)
    for key, (_, values) in features.items():
        assert parsed[key].values.numpy().tolist() == values


@given(FEATURES, st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_the_order_of_insertion(features, rng):
    shuffled = list(features.items())
    rng.shuffle(shuffled)
    assert serialize_example(dict(shuffled)) == serialize_example(features)


def test_a_float_is_rounded_to_32_bits():
    (value,) = parse_example(serialize_example({"x": ("float32", [0.1])}))["x"]
    assert value == struct.unpack("<f", struct.pack("<f", 0.1))[0] != 0.1


def test_floats_that_are_no_numbers_are_kept():
    data = serialize_example({"x": ("float32", [math.nan, math.inf, -math.inf])})
    nan, *others = parse_example(data)["x"]
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf]


def test_an_example_without_features_parses_to_none():
    assert parse_example(serialize_example({})) == {}
    assert parse_example(b"") == {}


def test_a_feature_without_a_kind_parses_to_no_values():
    example = tf.train.Example()
    example.features.feature["x"].SetInParent()
    assert parse_example(example.SerializeToString()) == {"x": []}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_an_error(value):
    with pytest.raises(ValueError, match="range"):
        serialize_example({"x": ("int64", [value])})


@pytest.mark.parametrize("value", ["text", 1.5])
def test_a_value_of_another_type_is_an_error(value):
    with pytest.raises(TypeError):
        serialize_example({"x": ("bytes", [value])})


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"not an example"])
def test_bytes_that_are_no_example_are_a_value_error(data):
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        parse_example(data)


@given(FEATURES, st.data())
def test_an_example_cut_short_never_raises_anything_else(features, data):
    whole = serialize_example(features)
    cut = data.draw(st.integers(0, len(whole)))
    try:
        parse_example(whole[:cut])
    except ValueError as error:
        assert "tf.train.Example" in str(error)


# Framing.


def framed(record: bytes) -> bytes:
    header, footer = frame_record(record)
    return header + record + footer


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """A temporary file that each example overwrites."""
    return tmp_path_factory.mktemp("record") / "records"


@given(records=st.lists(st.binary(max_size=2000), max_size=6))
def test_framing_is_that_of_tensorflows_writer(records, scratch):
    with tf.io.TFRecordWriter(str(scratch)) as writer:
        for record in records:
            writer.write(record)
    assert b"".join(map(framed, records)) == scratch.read_bytes()


@given(records=st.lists(st.binary(max_size=2000), max_size=6))
def test_tensorflow_and_we_read_the_records_that_were_framed(records, scratch):
    scratch.write_bytes(b"".join(map(framed, records)))
    dataset = tf.data.TFRecordDataset(str(scratch))
    assert list(dataset.as_numpy_iterator()) == records
    assert [record.data for record in read_shard(str(scratch))] == records


@given(record=st.binary(max_size=2000))
def test_framing_takes_16_bytes(record):
    assert len(framed(record)) == len(record) + FRAMING_BYTES == len(record) + 16


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        # RFC 3720, B.4, and the check value of CRC-32C.
        (b"", "00000000"),
        (bytes(32), "8a9136aa"),
        (b"\xff" * 32, "62a8ab43"),
        (bytes(range(32)), "46dd794e"),
        (b"123456789", "e3069283"),
    ],
)
def test_checksum_is_crc32c(data, crc):
    assert crc32c_hex(data) == crc
    rotated = ((int(crc, 16) >> 15) | (int(crc, 16) << 17)) & 0xFFFFFFFF
    assert masked_crc32c(data) == (rotated + 0xA282EAD8) % 2**32


def test_whole_numbers_are_found_by_their_keys():
    data = serialize_example(
        {"b": ("int64", [7]), "a": ("int64", [-(2**63)]), "c": ("bytes", [b"x"])}
    )
    assert whole_numbers(data, ["b", "a"]) == [7, -(2**63)]
    assert whole_numbers(data, []) == []


@pytest.mark.parametrize("key", ["none", "bytes", "floats", "empty", "two"])
def test_a_whole_number_is_the_only_one_of_its_feature(key):
    kinds = {
        "bytes": ("bytes", [b"1"]),
        "floats": ("float32", [1.0]),
        "empty": ("int64", []),
        "two": ("int64", [1, 2]),
    }
    with pytest.raises(ValueError, match=f"feature {key} must have exactly one int64"):
        whole_numbers(serialize_example(kinds), [key])


def test_a_whole_number_is_not_in_bytes_that_are_no_example():
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        whole_numbers(b"\xff", ["a"])
