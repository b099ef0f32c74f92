"""Batches → what `fit` takes: inputs, labels, weights."""

from typing import Any

import tensorflow as tf

from reader.contract.errors import UsageError
from reader.loader.batch_dataset import Batches


def for_captioning(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns `((image, tokens_in), tokens_out, weights)`, for teacher forcing.

    A model is shown a caption up to some token, and learns the next one (Williams and
    Zipser, 1989):

        image       float32[batch, height, width, 3], or as `load` was told
        tokens_in   int32[batch, max_tokens - 1]: start a red circle
        tokens_out  int32[batch, max_tokens - 1]: a red circle end
        weights     float32[batch, max_tokens - 1]: 0 where `tokens_out` is padding

    Keras' losses divide by the number of all tokens, padding too, unless they are made
    with `reduction="mean_with_sample_weight"`.

    Args:
        batches: What `reader.load` returned, as dictionaries with `image`, `tokens` and
            `mask`; where they hold `valid`, places without an example weigh nothing.

    Raises:
        UsageError: The batches hold something else, or several captions each.
    """
    _check(batches, "for_captioning", ("image", "tokens", "mask"))

    def shift(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor, tf.Tensor]:
        tokens, weights = batch["tokens"], tf.cast(batch["mask"], tf.float32)
        if "valid" in batch:
            weights *= tf.cast(batch["valid"], tf.float32)[:, tf.newaxis]
        return (batch["image"], tokens[:, :-1]), tokens[:, 1:], weights[:, 1:]

    return _then(batches, shift)


def for_retrieval(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns `((image, tokens, mask), labels, weights)`, for contrastive learning.

        image    float32[batch, height, width, 3], or as `load` was told
        tokens   int32[batch, max_tokens]
        mask     bool[batch, max_tokens], True where tokens are not padding
        labels   int32[batch]: 0 … batch - 1: each image belongs to its own caption
        weights  float32[batch]: 1, or 0 where a place holds no example

    With logits of every image against every caption, `labels` are what
    `SparseCategoricalCrossentropy` takes, along either axis (CLIP's loss: Radford et
    al., 2021, figure 3). Where a strategy splits batches over devices, compare labels
    (`labels[:, None] == labels`) instead.

    Args:
        batches: What `reader.load` returned, as dictionaries with `image`, `tokens` and
            `mask`.

    Raises:
        UsageError: The batches hold something else, or several captions each.
    """
    _check(batches, "for_retrieval", ("image", "tokens", "mask"))

    def pair(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor, tf.Tensor]:
        labels = tf.range(tf.shape(batch["tokens"])[0])
        labels.set_shape(batch["tokens"].shape[:1])
        weights = tf.ones_like(labels, tf.float32)
        if "valid" in batch:
            weights = tf.cast(batch["valid"], tf.float32)
        return (batch["image"], batch["tokens"], batch["mask"]), labels, weights

    return _then(batches, pair)


def _check(batches: tf.data.Dataset, name: str, needed: tuple[str, ...]) -> None:
    if not isinstance(batches, tf.data.Dataset):
        raise UsageError(
            f"{name} needs batches of reader.load, got {type(batches).__name__}: call "
            "as_numpy, as_jax and as_torch on what it returns"
        )
    names = batches.names if isinstance(batches, Batches) else None
    if names is None:
        spec = batches.element_spec
        names = tuple(spec) if isinstance(spec, dict) else None
    if names is None:
        raise UsageError(
            f"{name} needs batches as dictionaries: load them without outputs"
        )
    missing = [part for part in needed if part not in names]
    if missing:
        raise UsageError(
            f"{name} needs {', '.join(needed)}; the batches hold {', '.join(names)}, "
            f"and no {missing[0]}"
        )
    if "caption_valid" in names:
        raise UsageError(
            f'{name} takes one caption of each image: load with caption="first" or '
            '"random" instead of "all"'
        )


def _then(batches: tf.data.Dataset, function: Any) -> tf.data.Dataset:
    if isinstance(batches, Batches):
        return batches.then(function)
    return batches.map(function, num_parallel_calls=tf.data.AUTOTUNE)
