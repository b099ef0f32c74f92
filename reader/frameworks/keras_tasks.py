"""Converts batches to (inputs, labels, sample weights) for Keras' `fit`."""

from typing import Any

import tensorflow as tf

from reader.contract.errors import UsageError
from reader.loader.batch_dataset import Batches


def for_captioning(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Converts batches to inputs, labels and weights for captioning.

    The model predicts each token from the image and the tokens before it (teacher
    forcing: Williams and Zipser, 1989). Each batch becomes
    `((image, tokens_in), tokens_out, weights)`:

        image       float32[batch, height, width, 3], or as `load` was configured
        tokens_in   int32[batch, max_tokens - 1]: start a red circle
        tokens_out  int32[batch, max_tokens - 1]: a red circle end
        weights     float32[batch, max_tokens - 1]: 0 where `tokens_out` is padding

    Keras' losses divide by the number of all tokens, including padding, unless they are
    created with `reduction="mean_with_sample_weight"`.

    Args:
        batches: Dataset that `reader.load` returned, of dictionaries with `image`,
            `tokens` and `mask`. If they have `valid`, positions without an example get
            weight 0.

    Returns:
        A `tf.data.Dataset` of such tuples.

    Raises:
        UsageError: `batches` is not a Dataset of such dictionaries, or has several
            captions per image.
    """
    _check(batches, "for_captioning", ("image", "tokens", "mask"))

    def shift(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor, tf.Tensor]:
        tokens, weights = batch["tokens"], tf.cast(batch["mask"], tf.float32)
        if "valid" in batch:
            weights *= tf.cast(batch["valid"], tf.float32)[:, tf.newaxis]
        return (batch["image"], tokens[:, :-1]), tokens[:, 1:], weights[:, 1:]

    return _then(batches, shift)


def for_retrieval(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Converts batches to inputs, labels and weights for contrastive learning.

    Each batch becomes `((image, tokens, mask), labels, weights)`:

        image    float32[batch, height, width, 3], or as `load` was configured
        tokens   int32[batch, max_tokens]
        mask     bool[batch, max_tokens], True where tokens are not padding
        labels   int32[batch]: 0 … batch - 1, the index of each image's own caption
        weights  float32[batch]: 1, or 0 at positions without an example

    With logits of every image against every caption, pass `labels` to
    `SparseCategoricalCrossentropy` along either axis (CLIP's loss: Radford et al.,
    2021, figure 3). If a `tf.distribute` strategy splits batches over devices, compare
    labels (`labels[:, None] == labels`) instead.

    Args:
        batches: Dataset that `reader.load` returned, of dictionaries with `image`,
            `tokens` and `mask`. If they have `valid`, positions without an example get
            weight 0.

    Returns:
        A `tf.data.Dataset` of such tuples.

    Raises:
        UsageError: `batches` is not a Dataset of such dictionaries, or has several
            captions per image.
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
            f"{name} needs batches from reader.load, got {type(batches).__name__}: "
            f"call {name} first, and as_numpy, as_jax or as_torch on its result"
        )
    names = batches.names if isinstance(batches, Batches) else None
    if names is None:
        spec = batches.element_spec
        names = tuple(spec) if isinstance(spec, dict) else None
    if names is None:
        raise UsageError(
            f"{name} needs batches as dictionaries: call load without outputs"
        )
    missing = [part for part in needed if part not in names]
    if missing:
        raise UsageError(
            f"{name} needs {', '.join(needed)}; the batches have {', '.join(names)}, "
            f"but no {missing[0]}"
        )
    if "caption_valid" in names:
        raise UsageError(
            f'{name} needs one caption per image: load with caption="first" or '
            '"random" instead of "all"'
        )


def _then(batches: tf.data.Dataset, function: Any) -> tf.data.Dataset:
    if isinstance(batches, Batches):
        return batches.then(function)
    return batches.map(function, num_parallel_calls=tf.data.AUTOTUNE)
