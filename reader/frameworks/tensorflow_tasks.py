"""Inputs, labels and weights of a batch of TensorFlow's tensors."""

from typing import Any

import tensorflow as tf

from reader.loader.batch_dataset import Batches


def shift(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor, tf.Tensor]:
    """Returns a batch for captioning."""
    tokens, weights = batch["tokens"], tf.cast(batch["mask"], tf.float32)
    if "valid" in batch:
        weights *= tf.cast(batch["valid"], tf.float32)[:, tf.newaxis]
    return (batch["image"], tokens[:, :-1]), tokens[:, 1:], weights[:, 1:]


def pair(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor, tf.Tensor]:
    """Returns a batch for contrastive learning."""
    labels = tf.range(tf.shape(batch["tokens"])[0])
    labels.set_shape(batch["tokens"].shape[:1])
    weights = tf.ones_like(labels, tf.float32)
    if "valid" in batch:
        weights = tf.cast(batch["valid"], tf.float32)
    return (batch["image"], batch["tokens"], batch["mask"]), labels, weights


def names_of(batches: tf.data.Dataset) -> tuple[str, ...] | None:
    """Returns the names of a batch's outputs; None if it is no dictionary."""
    names = batches.names if isinstance(batches, Batches) else None
    if names is None:
        spec = batches.element_spec
        names = tuple(spec) if isinstance(spec, dict) else None
    return names


def then(batches: tf.data.Dataset, function: Any) -> tf.data.Dataset:
    """Returns batches transformed by a function."""
    if isinstance(batches, Batches):
        return batches.then(function)
    return batches.map(function, num_parallel_calls=tf.data.AUTOTUNE)
