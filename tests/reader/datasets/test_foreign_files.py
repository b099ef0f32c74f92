"""Missing, damaged and compressed foreign TFRecords, through `reader.load`.

Expected values come from `tf.data.TFRecordDataset` and `tf.io.decode_image`, or from
the rows that the tests write.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from foreign_records import (
    begins,
    cut_and_resized,
    decoded,
    key_of,
    keys,
    load,
    picture,
    reader_warnings,
    row,
    small,
    write,
)

import reader

# Files that are missing, damaged, or not TFRecords.


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize(
    "name",
    ["x-0000{}-of-00003", "x-0000{}-of-00003.tfrecord", "x.record-0000{}-of-00003"],
)
def test_numbered_files_without_their_siblings_are_refused(tmp_path, name, gone):
    for place in range(3):
        write(tmp_path / name.format(place), [small(place)])
    assert len(load(tmp_path / "x*")) == 3
    (tmp_path / name.format(gone)).unlink()
    with pytest.raises(reader.DatasetError, match="1 of 3 files are missing") as caught:
        load(tmp_path / "x*")
    assert name.format(gone) in str(caught.value)


def test_one_of_several_numbered_files_may_be_read_alone(numbered):
    loaded = keys(load(numbered / "x-00001-of-00003", shuffle=False))
    assert loaded == [key_of(number) for number in range(70, 75)]


@pytest.mark.parametrize(
    "content",
    [picture(1, "JPEG", (200, 100)), b"just a text\n" * 20, b"short", b"\0" * 400],
    ids=["jpeg", "text", "short", "zeros"],
)
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_what_is_no_tfrecord_is_refused(tmp_path, content, on_corrupt):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(reader.DatasetError, match="TFRecord") as caught:
        load(path, on_corrupt=on_corrupt)
    assert str(path) in str(caught.value)


def test_an_empty_file_alone_is_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.touch()
    with pytest.raises(reader.DatasetError, match="no record") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_stranger_among_tfrecords_is_named(tmp_path):
    write(tmp_path / "a.tfrecord", map(small, range(3)))
    path = tmp_path / "b.tfrecord"
    path.write_bytes(picture(1, "JPEG"))
    with pytest.raises(reader.DatasetError) as caught:
        load(tmp_path / "*.tfrecord")
    assert f"{path} " in str(caught.value)


def test_records_that_are_no_examples_are_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff no protobuf")
    with pytest.raises(reader.DatasetError, match="first record") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises((reader.DatasetError, reader.UsageError)) as caught:
        load(tmp_path / "nothing-*")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("more", [3, 20])
def test_a_truncated_file_is_read_up_to_there_or_refused(tmp_path, caplog, more):
    write(tmp_path / "a", map(small, range(9)))
    path = write(tmp_path / "b", map(small, range(9, 20)))
    cut = begins(path)[7]
    path.write_bytes(path.read_bytes()[: cut + more])
    with pytest.raises(reader.DatasetError, match='on_corrupt="skip"') as caught:
        load([tmp_path / "a", path])
    assert f"truncated record in {path} at byte {cut}:" in str(caught.value)
    with caplog.at_level(logging.WARNING, "reader"):
        batches = load([tmp_path / "a", path], on_corrupt="skip", shuffle=False)
    (message,) = reader_warnings(caplog)
    assert f"truncated record in {path} at byte {cut}" in message
    assert keys(batches) == [key_of(number) for number in range(16)]
    assert len(batches) == 16


def test_a_damaged_length_ends_a_file_or_is_refused(tmp_path):
    path = write(tmp_path / "a", map(small, range(9)))
    begin = begins(path)[4]
    data = bytearray(path.read_bytes())
    data[begin] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError, match=f"{path} at byte {begin}:"):
        load(path)
    loaded = keys(load(path, on_corrupt="skip", shuffle=False))
    assert loaded == [key_of(number) for number in range(4)]


@pytest.mark.parametrize("number", [1, 8])
def test_damaged_data_is_named_or_replaced(tmp_path, number):
    path = write(tmp_path / "a", map(row, range(9)))
    begin, end = begins(path)[number : number + 2]
    data = bytearray(path.read_bytes())
    data[end - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError) as caught:
        keys(load(path))
    assert f'{path} at byte {begin} (key "k00{number}")' in str(caught.value)
    batches = load(path, on_corrupt="skip", shuffle=False, outputs=("key", "valid"))
    expected = [(key_of(each), True) for each in range(9)]
    expected[number] = (key_of((number + 1) % 9), False)
    assert list(batches.unbatch().as_numpy_iterator()) == expected


def test_a_damaged_first_record_is_named_or_replaced(tmp_path):
    path = write(tmp_path / "a", map(small, range(9)))
    data = bytearray(path.read_bytes())
    data[begins(path)[1] - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError, match=f"{path} at byte 0"):
        load(path)
    batches = load(path, on_corrupt="skip", shuffle=False, outputs=("key", "valid"))
    expected = [(key_of(number), True) for number in range(9)]
    expected[0] = (key_of(1), False)
    assert list(batches.unbatch().as_numpy_iterator()) == expected


def test_shards_of_an_unfinished_job_are_refused(tmp_path):
    write(tmp_path / "train-00000-of-00001.tfrecord", map(row, range(3)))
    assert len(load(tmp_path / "train-*")) == 3  # Without `_build`, foreign TFRecords.
    (tmp_path / "_build").mkdir()
    for pattern in (tmp_path / "train-*", tmp_path / "train-00000-of-00001.tfrecord"):
        with pytest.raises(reader.DatasetError, match="has not finished"):
            load(pattern)


def test_a_mistyped_name_comes_first_in_its_error(tmp_path):
    for name in ("nowhere", "nowhere-*"):
        with pytest.raises(reader.DatasetError) as caught:
            load(tmp_path / name)
        assert str(caught.value).startswith(f"no file matches {tmp_path}/{name}: ")
        assert "the path is wrong" in str(caught.value)


# Compressed files.


@pytest.fixture(params=["GZIP", "ZLIB"])
def compressed(request, tmp_path) -> Path:
    """40 records in three compressed files."""
    for place, part in enumerate([range(20), range(20, 25), range(25, 40)]):
        write(tmp_path / f"c{place}", map(small, part), request.param)
    return tmp_path / "c*"


def quietly(pattern: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return load(pattern, **settings)


def test_compressed_records_come_once_in_each_epoch_after_a_warning(compressed):
    with pytest.warns(UserWarning, match=r"is compressed \((GZIP|ZLIB)\)") as warned:
        batches = reader.load(compressed, batch_size=8, epochs=2, outputs=("key",))
    assert [Path(str(w.filename)).name for w in warned] == [Path(__file__).name]
    loaded = keys(batches)
    everything = sorted(map(key_of, range(40)))
    assert sorted(loaded[:40]) == sorted(loaded[40:]) == everything
    assert loaded[:40] != loaded[40:] and loaded[:40] != everything


def test_compressed_records_come_in_the_order_written_unless_shuffled(compressed):
    loaded = keys(quietly(compressed, batch_size=8, shuffle=False))
    assert loaded == [key_of(number) for number in range(40)]


def test_compressed_records_have_an_order_by_seed(compressed):
    orders = [keys(quietly(compressed, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_compressed_records_have_no_length_and_no_state(compressed):
    batches = quietly(compressed, batch_size=8)
    with pytest.raises(TypeError):
        len(batches)
    with pytest.raises(reader.UsageError):
        reader.state(batches, 1)
    with pytest.raises(reader.UsageError, match="compressed"):
        reader.steps_per_epoch(compressed, batch_size=8)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("start_step", {"start_step": 1}),
        ("start_example", {"start_example": 0}),
        ("host_count", {"host_count": 2}),
        ("remainder", {"remainder": "pad"}),
        ("on_corrupt", {"on_corrupt": "skip"}),
        ("resume", {"resume": {"step": 1, "examples": 8}}),
    ],
)
def test_what_needs_a_plan_is_refused_of_compressed_records(compressed, name, settings):
    with pytest.raises(reader.UsageError, match=name) as caught:
        quietly(compressed, batch_size=8, **settings)
    assert "compressed" in str(caught.value)
    assert str(compressed.parent) in str(caught.value)


def test_compressed_files_among_others_are_refused(compressed):
    write(compressed.parent / "cx", map(small, range(3)))
    with pytest.raises(reader.UsageError, match="compressed"):
        load(compressed)


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_pixels_are_those_of_tensorflow(tmp_path, compression):
    path = write(tmp_path / "c", map(row, range(4)), compression)
    batches = quietly(path, shuffle=False, image_size=8, outputs=("image",))
    loaded = [image for (image,) in batches.unbatch().as_numpy_iterator()]
    assert len(loaded) == 4
    for number, image in enumerate(loaded):
        expected = cut_and_resized(decoded(picture(number)), (8, 8))
        assert np.abs(image - expected).max() * 255 < 1.51
