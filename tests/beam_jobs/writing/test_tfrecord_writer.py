"""Tests TFRecord files against TensorFlow's own writer and reader."""

import io
import random
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.writing.tfrecord_writer import TFRecordWriter
from reader.contract.index import index_files
from reader.contract.record import parse_example, serialize_example

SIZES = [0, 1, 2, 3, 255, 256, 1000, 65_536, 1_000_000]


def records_of(sizes: list[int], seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for size in sizes]


def written(records: list[bytes]) -> tuple[bytes, TFRecordWriter]:
    file = io.BytesIO()
    writer = TFRecordWriter(file.write)
    for record in records:
        writer.write(record)
    return file.getvalue(), writer


def by_tensorflow(path: Path, records: list[bytes]) -> bytes:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def by_hand(data: bytes) -> list[tuple[int, int, bytes]]:
    """Returns (offset, framed length, record) of each record, without the index."""
    rows, offset = [], 0
    while offset < len(data):
        (length,) = struct.unpack("<Q", data[offset : offset + 8])
        record = data[offset + 12 : offset + 12 + length]
        rows.append((offset, length + 16, record))
        offset += length + 16
    assert offset == len(data)
    return rows


@pytest.mark.parametrize("sizes", [[], [0], [1], SIZES, [50] * 200])
def test_the_bytes_are_those_of_tensorflows_writer(tmp_path, sizes):
    records = records_of(sizes)
    data, _ = written(records)
    assert data == by_tensorflow(tmp_path / "theirs", records)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_the_bytes_are_those_of_tensorflows_writer_whatever_they_hold(
    tmp_path_factory, records
):
    theirs = tmp_path_factory.getbasetemp() / "theirs.tfrecord"
    assert written(records)[0] == by_tensorflow(theirs, records)


def test_tf_data_reads_the_records(tmp_path):
    records = records_of(SIZES)
    path = tmp_path / "ours.tfrecord"
    path.write_bytes(written(records)[0])
    read = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    assert list(read) == records


def test_tf_data_notices_a_changed_byte_anywhere(tmp_path):
    data, _ = written(records_of([40, 40]))
    path = tmp_path / "ours.tfrecord"
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(bytes(changed))
        with pytest.raises((tf.errors.DataLossError, tf.errors.OutOfRangeError)):
            list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=100), max_size=200))
def test_offsets_lengths_and_counts_are_those_of_the_file(records):
    data, writer = written(records)
    rows = by_hand(data)
    assert [record for _, _, record in rows] == records
    assert writer.offsets == [offset for offset, _, _ in rows]
    assert writer.lengths == [length for _, length, _ in rows]
    assert writer.num_records == len(records)
    assert writer.num_bytes == len(data)


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=100), max_size=50))
def test_the_checksum_is_that_of_the_file(records):
    data, writer = written(records)
    assert writer.crc32c == f"{google_crc32c.value(data):08x}"
    assert int(writer.crc32c, 16) == bitwise_crc32c(data)


def bitwise_crc32c(data: bytes) -> int:
    """Computes CRC-32C from its definition: reflected, polynomial 0x1EDC6F41."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_checksum_of_nothing_has_eight_digits():
    assert written([])[1].crc32c == "00000000"


def test_the_checksum_may_be_asked_for_on_the_way():
    file = io.BytesIO()
    writer = TFRecordWriter(file.write)
    for record in records_of([5, 50, 500]):
        writer.write(record)
        assert int(writer.crc32c, 16) == google_crc32c.value(file.getvalue())


def test_a_record_can_be_read_from_its_place_alone(tmp_path):
    records = records_of([10, 300, 0, 7])
    data, writer = written(records)
    for number, record in enumerate(records):
        begin, length = writer.offsets[number], writer.lengths[number]
        path = tmp_path / f"{number}.tfrecord"
        path.write_bytes(data[begin : begin + length])
        read = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        assert list(read) == [record]


@pytest.mark.parametrize("num_records", [[0], [1, 0, 63], [64, 65], [128, 129, 200]])
def test_the_index_of_some_shards_has_every_64th_offset_and_every_length(num_records):
    shards = [written(records_of([n % 7 for n in range(k)]))[1] for k in num_records]
    files = index_files(np.array(shard.lengths, np.uint32) for shard in shards)
    offsets = [
        shard.offsets[n] for shard in shards for n in range(0, len(shard.offsets), 64)
    ]
    lengths = [length for shard in shards for length in shard.lengths]
    assert files == {
        "index/blocks.bin": struct.pack(f"<{len(offsets)}Q", *offsets),
        "index/lengths.bin": struct.pack(f"<{len(lengths)}I", *lengths),
    }


@pytest.mark.parametrize("num_records", [0, 1, 200])
def test_the_text_index_has_a_line_per_record(num_records):
    data, writer = written(records_of([n % 90 for n in range(num_records)]))
    index = writer.text_index()
    assert index == b"".join(b"%d %d\n" % row[:2] for row in by_hand(data))
    assert index.count(b"\n") == num_records


# tf.train.Example.

FEATURES = {
    "image/encoded": ("bytes", [b"\xff\xd8" + bytes(300)]),
    "image/height": ("int64", [256]),
    "image/caption": ("bytes", ["ein Café".encode(), b""]),
    "caption/ids": ("int64", [0, 1, 2**62, -1]),
    "caption/lengths": ("int64", []),
    "extra/score": ("float32", [0.5, -1.25]),
}


def test_an_example_is_what_tensorflow_makes_of_it():
    parsed = tf.train.Example.FromString(serialize_example(FEATURES))
    lists = {"bytes": "bytes_list", "int64": "int64_list", "float32": "float_list"}
    assert set(parsed.features.feature) == set(FEATURES)
    for key, (dtype, values) in FEATURES.items():
        feature = parsed.features.feature[key]
        assert list(getattr(feature, lists[dtype]).value) == values
    expected = {key: values for key, (_, values) in FEATURES.items()}
    assert parse_example(parsed.SerializeToString()) == expected


def test_an_example_has_the_same_bytes_in_whatever_order_it_was_filled():
    keys = list(FEATURES)
    first = serialize_example(FEATURES)
    for seed in range(5):
        random.Random(seed).shuffle(keys)
        assert serialize_example({key: FEATURES[key] for key in keys}) == first
    theirs = tf.train.Example.FromString(first)
    assert theirs.SerializeToString(deterministic=True) == first
