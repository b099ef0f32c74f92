"""Batches of NumPy, JAX and PyTorch, against those of tf.data."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from framework_batches import (
    EVERYTHING,
    STEPS,
    check_same,
    leaves,
    load,
    numpy_of,
    plain,
    run,
)

import reader

# Equal batches.


@pytest.mark.parametrize(
    ("convert", "dtype", "outputs"),
    [
        (reader.as_numpy, "float32", None),
        (reader.as_numpy, "uint8", EVERYTHING),
        (reader.as_numpy, "bfloat16", EVERYTHING),
        (reader.as_jax, "float32", None),
        (reader.as_jax, "float32", EVERYTHING),
        (reader.as_jax, "uint8", EVERYTHING),
        (reader.as_jax, "bfloat16", EVERYTHING),
        (reader.as_torch, "float32", None),  # test_adapters_torch.py has tuples.
    ],
)
def test_batches_are_those_of_tensorflow_in_each_epoch(small, convert, dtype, outputs):
    settings = {"dtype": dtype, "outputs": outputs, "remainder": "pad"}
    batches = load(small, batch_size=10, **settings)
    made = convert(load(small, batch_size=10, **settings))
    epochs = []
    for _ in range(2):
        expected = [numpy_of(batch) for batch in batches]
        epochs.append(expected)
        converted = list(made)  # Later batches change no earlier one.
        assert len(made) == len(converted) == len(expected) == 5
        for one, other in zip(converted, expected, strict=True):
            check_same(one, other)
    first, second = (epoch[0] for epoch in epochs)
    assert any(map(np.any, map(np.not_equal, leaves(first), leaves(second))))


@pytest.mark.parametrize("convert", [reader.as_numpy, reader.as_jax])
@pytest.mark.parametrize("task", ["for_captioning", "for_retrieval"])
def test_nested_batches_of_a_task_keep_their_structure(small, convert, task):
    batches, made = (getattr(reader, task)(load(small)) for _ in range(2))
    for one, other in zip(convert(made), batches, strict=True):
        check_same(one, numpy_of(other))


def test_several_captions_sorted_by_length_keep_shapes_and_texts(small, convert):
    settings = {
        "batch_size": 2,
        "bucket_by_length": True,
        "caption": "all",
        "outputs": ("key", "tokens", "caption_valid", "caption"),
    }
    shapes = set()
    for one, other in zip(
        convert(load(small, **settings)), load(small, **settings), strict=True
    ):
        check_same(one, numpy_of(other))
        assert {type(text) for text in one[0]} == {bytes}
        shapes.add(tuple(one[1].shape))
    assert shapes == {(2, 2, 8), (2, 2, 16)}


def test_other_datasets_of_tensorflow_are_taken_too(convert):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    made = convert(tf.data.Dataset.from_tensor_slices(values).batch(2))
    assert len(made) == 3
    assert [plain(batch).tolist() for batch in made] == values.reshape(3, 2, 2).tolist()


def test_endless_batches_have_no_length(small, convert):
    made = convert(load(small, epochs=None))
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(made)
    assert len(list(itertools.islice(made, 8))) == 8


def test_the_length_is_that_of_the_first_iterator(small, convert):
    made = convert(load(small, start_step=2, outputs=("length",)))
    assert [len(made), len(list(made)), len(list(made))] == [4, 4, 6]


@pytest.mark.parametrize("wrong", [None, [1], "out/train-*"])
def test_what_is_no_dataset_is_refused(convert, wrong):
    with pytest.raises(reader.UsageError, match=r"reader\.load.*got"):
        convert(wrong)


def test_batches_are_not_converted_twice(small, convert):
    made = convert(load(small))
    with pytest.raises(reader.UsageError, match=type(made).__name__):
        convert(made)


ALONE_OR_WITH_A_TASK = pytest.mark.parametrize(
    ("convert", "task"),
    [
        (reader.as_numpy, None),
        (reader.as_jax, None),
        (reader.as_torch, None),
        (reader.as_jax, "for_captioning"),
        (reader.as_torch, "for_retrieval"),
    ],
)


@ALONE_OR_WITH_A_TASK
def test_a_damaged_record_is_our_own_error(own_dataset, convert, task):
    shard = own_dataset / "train-00000-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 0xFF
    shard.write_bytes(data)
    batches = load(own_dataset, image_size=16)
    made = convert(getattr(reader, task)(batches) if task else batches)
    with pytest.raises(reader.DatasetError, match=f"{shard} at byte 3990"):
        list(made)


# Resume.


@ALONE_OR_WITH_A_TASK
def test_a_run_goes_on_from_the_state_of_converted_batches(small, convert, task):
    everything = list(load(small, epochs=3, outputs=("key",)).as_numpy_iterator())
    batches = load(small)
    made = convert(getattr(reader, task)(batches) if task else batches)
    taken = len(list(made))
    taken += len(list(itertools.islice(made, 2)))
    state = reader.state(batches, taken)
    rest = list(load(small, resume=state, outputs=("key",)).as_numpy_iterator())
    assert len(rest) == 4
    check_same(rest[0], everything[8])


@pytest.mark.parametrize("left_at", [5])
def test_no_state_is_given_of_epochs_that_were_left_early(small, convert, left_at):
    batches = load(small, outputs=("length",))
    made = convert(batches)
    taken = len(list(itertools.islice(made, left_at)))
    taken += len(list(itertools.islice(made, 3)))
    with pytest.raises(reader.UsageError, match="left before its end"):
        reader.state(batches, taken)


def test_no_state_is_given_either_while_the_iterator_left_is_still_held(small, convert):
    batches = load(small, outputs=("length",))
    made = convert(batches)
    left = iter(made)
    taken = len(list(itertools.islice(left, STEPS - 1)))
    other = iter(made)
    taken += len(list(itertools.islice(other, 3)))
    with pytest.raises(reader.UsageError, match="left before its end"):
        reader.state(batches, taken)


# NumPy.


def test_numpy_arrays_cannot_be_written_to_and_copies_can(small):
    batch = next(iter(reader.as_numpy(load(small))))
    with pytest.raises(ValueError, match="read-only"):
        batch["image"][0] = 0
    batch["image"].copy()[0] = 0


# Frameworks that are not installed.


ABSENT = """
import json, sys
sys.modules["jax"] = sys.modules["torch"] = None  # As if they were not installed.
from reader import *
import reader
batches = load(sys.argv[1], split="train", batch_size=8)
found = {}
for make in (as_jax, as_torch):
    try:
        make(batches)
    except reader.UsageError as error:
        found[make.__name__] = str(error)
found["num"] = len(list(as_numpy(for_captioning(batches))))
found["names"] = sorted(set(reader.__all__) & set(globals()))
print(json.dumps(found))
"""


def test_what_is_not_installed_is_named_when_it_is_asked_for(small):
    found = run(ABSENT, small)
    assert "pip install jax" in found["as_jax"]
    assert "pip install torch" in found["as_torch"]
    assert found["num"] == STEPS
    assert found["names"] == sorted(reader.__all__)
