"""Loads batches, and compares batches of NumPy, JAX and PyTorch with TensorFlow's."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch
from patience import PATIENCE_SECONDS

import reader

STEPS = 6
EVERYTHING = (
    "image",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "height",
    "width",
    "valid",
)

As = Callable[..., Any]


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 8, "split": "train"}
    return reader.load(folder, **{**usual, **settings})


def numpy_of(batch: Any) -> Any:
    """Copies a TensorFlow batch to NumPy arrays."""
    return tf.nest.map_structure(lambda tensor: np.array(tensor.numpy()), batch)


def plain(values: Any) -> np.ndarray:
    """Converts values of any framework to an array of TensorFlow's dtype."""
    if isinstance(values, torch.Tensor):
        if values.dtype == torch.bfloat16:
            return values.float().numpy().astype(jnp.bfloat16)
        return values.numpy()
    if isinstance(values, list):
        return np.array(values, object)
    return np.asarray(values)


def leaves(batch: Any) -> list[Any]:
    """Returns the tensors of a batch, by name or position; a list is one tensor."""
    if isinstance(batch, dict):
        return [leaf for name in sorted(batch) for leaf in leaves(batch[name])]
    if isinstance(batch, tuple):
        return [leaf for part in batch for leaf in leaves(part)]
    return [batch]


def shape_of(batch: Any) -> Any:
    """Returns the structure of a batch, without its tensors."""
    if isinstance(batch, dict):
        return {name: shape_of(part) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(shape_of(part) for part in batch)
    return None


def check_same(made: Any, expected: Any) -> None:
    assert shape_of(made) == shape_of(expected)
    for one, other in zip(leaves(made), leaves(expected), strict=True):
        assert plain(one).dtype == other.dtype
        assert plain(one).shape == other.shape
        assert np.array_equal(plain(one), other)


def run(code: str, *args: object, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
