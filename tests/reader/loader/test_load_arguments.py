"""Invalid arguments, and damage that is found while reading."""

from pathlib import Path

import numpy as np
import pytest
from loaded_batches import load, load_keys

import reader

# Invalid arguments.


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batch_size": 0}, ["batch_size", "got 0"]),
        ({"batch_size": -4}, ["batch_size", "got -4"]),
        ({"batch_size": 49}, ["batch_size", "got 49 and 48"]),
        ({"image_size": 0}, ["image_size", "0"]),
        ({"image_size": -1}, ["image_size", "-1"]),
        ({"image_size": (224, 0)}, ["image_size", "(224, 0)"]),
        ({"image_size": (224,)}, ["image_size", "(224,)"]),
        ({"image_size": (1, 2, 3)}, ["image_size", "(1, 2, 3)"]),
        ({"image_size": (2.5, 3)}, ["image_size", "2.5"]),
        ({"image_size": "224"}, ["image_size", "'224'"]),
        (
            {"crop": "centre"},
            ["crop", '"center" or "random" or "random_resized" or "none"', '"centre"'],
        ),
        ({"crop": None}, ["crop", "None"]),
        ({"crop_fraction": 0}, ["crop_fraction", "got 0"]),
        ({"crop_fraction": -0.5}, ["crop_fraction", "-0.5"]),
        ({"crop_fraction": 1.01}, ["crop_fraction", "1.01"]),
        ({"crop_fraction": float("nan")}, ["crop_fraction", "nan"]),
        ({"max_tokens": 1}, ["max_tokens", "at least 2", "got 1"]),
        ({"max_tokens": 0, "add_special_tokens": False}, ["max_tokens", "got 0"]),
        ({"shuffle_bytes": 0}, ["shuffle_bytes", "got 0"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"outputs": ("image", "label")}, ["outputs", "caption", "'label'"]),
        ({"outputs": ()}, ["outputs", "empty"]),
        ({"split": "train"}, ['split="train"', "folder", "train-*.tfrecord"]),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused_with_its_value(dataset, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, **settings)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batch_size": "8"}, ["batch_size", "8"]),
        ({"batch_size": 8.5}, ["batch_size", "8.5"]),
        ({"batch_size": None}, ["batch_size", "None"]),
        ({"batch_size": True}, ["batch_size", "True"]),
        ({"image_size": 224.0}, ["image_size", "224.0"]),
        ({"image_size": True}, ["image_size", "True"]),
        ({"max_tokens": 2.5}, ["max_tokens", "2.5"]),
        ({"seed": None}, ["seed", "None"]),
        ({"seed": 1.5}, ["seed", "1.5"]),
        ({"crop_fraction": "1"}, ["crop_fraction", "1"]),
        ({"outputs": "image"}, ["outputs", "image", "tuple"]),
    ],
    ids=repr,
)
def test_an_argument_of_a_wrong_type_is_refused_with_its_value(
    dataset, settings, parts
):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, **settings)
    for part in parts:
        assert part in str(raised.value)


def test_sizes_may_be_numbers_of_numpy(dataset):
    size = np.int64(24)
    batches = load(dataset, image_size=size, batch_size=np.int64(8))
    assert batches.element_spec["image"].shape == (8, 24, 24, 3)


def test_weights_of_patterns_are_not_ignored(dataset):
    weights = {f"{dataset}/train-*": 0.9, f"{dataset}/validation-*": 0.1}
    with pytest.raises(reader.UsageError):
        reader.load(weights, batch_size=8, image_size=16)


def test_wrong_usage_is_a_value_error(dataset):
    with pytest.raises(ValueError, match="batch_size"):
        load(dataset, batch_size=0)


# Damaged records.


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_a_corrupt_record_is_never_passed_over(own_dataset):
    damage(own_dataset / "train-00000-of-00003.tfrecord", 5000)
    with pytest.raises(reader.DatasetError):
        load_keys(own_dataset)


def test_a_corrupt_record_is_named_by_file_offset_and_key(own_dataset):
    shard = own_dataset / "train-00000-of-00003.tfrecord"
    damage(shard, 5000)
    with pytest.raises(reader.DatasetError) as raised:
        load_keys(own_dataset)
    assert f"{shard} at byte 3990" in str(raised.value)
    assert 'key "scene-' in str(raised.value)
