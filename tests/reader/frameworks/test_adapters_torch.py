"""Batches of PyTorch tensors: writing to them, and DataLoaders."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from framework_batches import EVERYTHING, STEPS, check_same, leaves, load, numpy_of
from torch.utils.data import DataLoader

import reader


def write_to(batch: Any) -> None:
    for tensor in leaves(batch):
        if isinstance(tensor, torch.Tensor):
            tensor.fill_(3 if tensor.dtype != torch.bool else True)


@pytest.mark.parametrize(
    ("image_size", "dtype"),
    [
        (4, "float32"),  # Small tensors are copied, larger ones shared.
        (None, "float32"),
        (None, "uint8"),
        (None, "bfloat16"),
    ],
)
def test_writing_to_a_tensor_changes_no_other_batch(small, image_size, dtype):
    settings = {
        "image_size": image_size,
        "dtype": dtype,
        "outputs": EVERYTHING,
        "remainder": "pad",
    }
    batches, made = (load(small, **settings) for _ in range(2))
    made = reader.as_torch(made)
    for _ in range(2):
        batches_made = list(made)
        expected = [numpy_of(batch) for batch in batches]
        for one, other in zip(batches_made, expected, strict=True):
            check_same(one, other)
            write_to(one)
    for one, other in zip(made, batches, strict=True):  # While later batches are made.
        check_same(one, numpy_of(other))
        write_to(one)


@pytest.mark.parametrize("task", ["for_captioning", "for_retrieval"])
def test_writing_to_tensors_of_a_task_changes_no_other_batch(small, task):
    make = getattr(reader, task)
    batches = make(load(small))
    made = reader.as_torch(make(load(small)))
    for _ in range(2):
        for one, other in zip(made, batches, strict=True):
            check_same(one, numpy_of(other))
            write_to(one)


def test_writing_to_labels_of_a_large_batch_changes_no_other_batch(tiny):
    batches = load(
        tiny, batch_size=1 << 14, remainder="pad", max_tokens=2, image_size=None
    )
    made = reader.as_torch(reader.for_retrieval(batches))
    for _ in range(2):
        ((_, labels, weights),) = list(made)
        assert labels.tolist() == list(range(1 << 14))
        assert weights.tolist() == [1.0] * 16 + [0.0] * ((1 << 14) - 16)
        labels.fill_(-1)
        weights.fill_(-1)


def test_writing_to_tensors_of_another_dataset_leaves_its_cache_alone():
    values = np.arange(1 << 16, dtype=np.float32).reshape(2, -1)
    made = reader.as_torch(tf.data.Dataset.from_tensor_slices(values).cache())
    for _ in range(2):
        for one, expected in zip(made, values, strict=True):
            assert (one.numpy() == expected).all()
            one.zero_()


def test_a_data_loader_without_workers_yields_the_same_batches(small):
    made = DataLoader(reader.as_torch(load(small)), batch_size=None, num_workers=0)
    assert len(made) == STEPS
    for one, other in zip(made, load(small), strict=True):
        check_same(one, numpy_of(other))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_are_refused(aside, method):
    kind, message = aside["workers"][method]
    assert kind == "UsageError"
    for part in ("num_workers=0", "batch_size=None", "reader.open"):
        assert part in message
