"""Shapes, lengths and order of batches, and the shards that patterns match."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from loaded_batches import (
    NUM_TRAIN,
    NUM_VALIDATION,
    OUTPUTS,
    keys,
    load,
    load_keys,
    written_keys,
)

import reader
from reader.contract.record import parse_example
from reader.datasets.manifest_dataset import open_dataset
from reader.storage.tfrecord_file import read_shard

# Shapes, dtypes and lengths.


def test_batch_is_a_dictionary_of_image_tokens_and_mask(dataset):
    spec = load(dataset, batch_size=4, image_size=(20, 30), max_tokens=9).element_spec
    assert spec == {
        "image": tf.TensorSpec((4, 20, 30, 3), tf.float32),
        "tokens": tf.TensorSpec((4, 9), tf.int32),
        "mask": tf.TensorSpec((4, 9), tf.bool),
    }


def test_outputs_are_tuples_in_the_order_asked_for(dataset):
    names = tuple(reversed(OUTPUTS))
    batches = load(dataset, outputs=names, batch_size=4)
    expected = {
        "image": tf.TensorSpec((4, 16, 16, 3), tf.float32),
        "tokens": tf.TensorSpec((4, 64), tf.int32),
        "mask": tf.TensorSpec((4, 64), tf.bool),
        "length": tf.TensorSpec((4,), tf.int32),
        "key": tf.TensorSpec((4,), tf.string),
        "caption": tf.TensorSpec((4,), tf.string),
        "height": tf.TensorSpec((4,), tf.int32),
        "width": tf.TensorSpec((4,), tf.int32),
    }
    assert batches.element_spec == tuple(expected[name] for name in names)


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_may_be_asked_for_alone(dataset, name):
    (batch,) = next(iter(load(dataset, shuffle=False, outputs=(name,))))
    together = next(iter(load(dataset, shuffle=False, outputs=OUTPUTS)))
    assert np.array_equal(batch, together[OUTPUTS.index(name)])


@pytest.mark.parametrize("batch_size", [1, 5, 7, 24, 48])
@pytest.mark.parametrize("shuffle", [True, False])
def test_length_is_exactly_the_number_of_batches(dataset, batch_size, shuffle):
    batches = load(
        dataset, batch_size=batch_size, shuffle=shuffle, outputs=("key", "length")
    )
    sizes = [len(key) for key, _ in batches.as_numpy_iterator()]
    assert sizes == [batch_size] * (NUM_TRAIN // batch_size)
    assert len(batches) == len(sizes)


def test_epochs_repeated_by_tensorflow_have_a_length_too(dataset):
    assert len(load(dataset, batch_size=7).repeat(3)) == 3 * (NUM_TRAIN // 7)


# Order.


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 6, 48])
def test_each_example_comes_exactly_once_in_an_epoch(dataset, shuffle, batch_size):
    loaded = load_keys(dataset, shuffle=shuffle, batch_size=batch_size)
    assert sorted(loaded) == sorted(written_keys(dataset))


@pytest.mark.parametrize("shuffle_bytes", [1, 20_000, 1 << 40])
def test_each_example_comes_once_whatever_the_shuffle_window(dataset, shuffle_bytes):
    loaded = load_keys(dataset, shuffle_bytes=shuffle_bytes)
    assert sorted(loaded) == sorted(written_keys(dataset))


def test_at_most_a_batch_less_one_is_dropped(dataset):
    loaded = load_keys(dataset, batch_size=7)
    assert len(loaded) == len(set(loaded)) == 42
    assert set(loaded) < set(written_keys(dataset))


def test_without_shuffling_the_order_is_that_written_in_every_epoch(dataset):
    batches = load(dataset, shuffle=False, outputs=("key",))
    assert keys(batches) == keys(batches) == written_keys(dataset)


def test_equal_seeds_give_equal_orders_epoch_by_epoch(dataset):
    one, other = (load(dataset, seed=5, outputs=("key",)) for _ in range(2))
    assert [keys(one) for _ in range(3)] == [keys(other) for _ in range(3)]


def test_other_seeds_give_other_orders(dataset):
    orders = {tuple(load_keys(dataset, seed=seed)) for seed in (0, 1, 2, 3, 2**40)}
    assert len(orders) == 5


def test_each_iterator_is_an_epoch_with_an_order_of_its_own(dataset):
    batches = load(dataset, outputs=("key",))
    epochs = [keys(batches) for _ in range(3)]
    assert len(set(map(tuple, epochs))) == 3
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])


def test_shuffling_moves_examples_across_shards(dataset):
    loaded = load_keys(dataset)
    shard_of = {
        example["image/source_id"][0]: number
        for number, shard in enumerate(sorted(dataset.glob("train-*.tfrecord")))
        for example in (parse_example(r.data) for r in read_shard(str(shard)))
    }
    first_batch = {shard_of[key] for key in loaded[:8]}
    assert len(first_batch) > 1


def test_order_does_not_depend_on_the_batch_size(dataset):
    assert load_keys(dataset, batch_size=4) == load_keys(dataset, batch_size=16)


def test_equal_seeds_give_equal_orders_in_another_process(dataset):
    program = (
        "import reader\n"
        f"batches = reader.load({f'{dataset}/train-*'!r}, batch_size=8, seed=5,\n"
        "    image_size=16, outputs=('key',))\n"
        "for (batch,) in batches.as_numpy_iterator():\n"
        "    print(*(key.decode() for key in batch))\n"
    )
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, env=quiet)
    assert done.stdout.split() == load_keys(dataset, seed=5)


def test_order_does_not_depend_on_the_global_seed_of_tensorflow(dataset):
    before = load_keys(dataset, seed=5)
    tf.random.set_seed(123)
    try:
        after = load_keys(dataset, seed=5)
    finally:
        tf.random.set_seed(None)
    assert before == after


# Patterns.


@pytest.mark.parametrize(
    ("split", "num"), [("train", NUM_TRAIN), ("validation", NUM_VALIDATION)]
)
def test_a_folder_with_a_split_is_all_shards_of_the_split(dataset, split, num):
    batches = reader.load(
        str(dataset), split=split, batch_size=num, image_size=16, outputs=("key",)
    )
    assert sorted(keys(batches)) == sorted(written_keys(dataset, split))


def test_a_folder_of_one_split_needs_no_split(uniform):
    batches = reader.load(str(uniform), batch_size=8, image_size=16, outputs=("key",))
    assert sorted(keys(batches)) == sorted(written_keys(uniform))


def test_a_list_of_globs_is_their_union_without_repeats(dataset):
    patterns = [
        f"{dataset}/validation-*",
        f"{dataset}/train-00001-*",
        f"{dataset}/train-0000[01]-*",
    ]
    batches = reader.load(
        patterns, batch_size=1, image_size=16, shuffle=False, outputs=("key",)
    )
    train = sorted(dataset.glob("train-*.tfrecord"))[:2]
    validation = sorted(dataset.glob("validation-*.tfrecord"))
    assert keys(batches) == [
        parse_example(record.data)["image/source_id"][0]
        for shard in [*train, *validation]
        for record in read_shard(str(shard))
    ]


def test_a_glob_of_one_shard_reads_that_shard(dataset):
    shard = open_dataset(str(dataset)).manifest.shards[1]
    batches = load(dataset, "train-00001-*", batch_size=1, shuffle=False)
    assert len(batches) == shard.num_examples
    expected = [
        parse_example(record.data)["image/source_id"][0]
        for record in read_shard(str(dataset / shard.file))
    ]
    assert load_keys(dataset, "train-00001-*", batch_size=1, shuffle=False) == expected


def test_a_path_of_one_shard_needs_no_wildcard(dataset):
    shard = open_dataset(str(dataset)).manifest.shards[0]
    assert len(load(dataset, shard.file, batch_size=1)) == shard.num_examples


def test_a_relative_glob_is_read_from_the_working_folder(dataset, monkeypatch):
    monkeypatch.chdir(dataset)
    batches = reader.load("train-*", batch_size=8, image_size=16, outputs=("key",))
    assert sorted(keys(batches)) == sorted(written_keys(dataset))


def test_a_list_of_path_objects_is_accepted(dataset):
    assert len(reader.load([dataset / "train-*"], batch_size=8, image_size=16)) == 6


def test_a_single_path_object_is_accepted(dataset):
    assert len(reader.load(dataset / "train-*", batch_size=8, image_size=16)) == 6


def test_one_folder_may_be_spelled_in_two_ways(dataset, monkeypatch):
    monkeypatch.chdir(dataset)
    patterns = ["train-*", f"{dataset}/validation-*"]
    assert len(reader.load(patterns, batch_size=10, image_size=16)) == 6
