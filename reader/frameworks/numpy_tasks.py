"""Inputs, labels and weights of a batch of NumPy arrays."""

from typing import Any

import numpy as np

Batch = dict[str, np.ndarray[Any, Any]]


def shift(batch: Batch) -> tuple[Any, Any, Any]:
    """Returns a batch for captioning."""
    tokens, weights = batch["tokens"], batch["mask"].astype(np.float32)
    if "valid" in batch:
        weights *= batch["valid"].astype(np.float32)[:, np.newaxis]
    return (batch["image"], tokens[:, :-1]), tokens[:, 1:], weights[:, 1:]


def pair(batch: Batch) -> tuple[Any, Any, Any]:
    """Returns a batch for contrastive learning."""
    labels = np.arange(len(batch["tokens"]), dtype=np.int32)
    weights = np.ones(len(labels), np.float32)
    if "valid" in batch:
        weights = batch["valid"].astype(np.float32)
    return (batch["image"], batch["tokens"], batch["mask"]), labels, weights
