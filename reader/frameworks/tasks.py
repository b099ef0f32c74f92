"""Converts batches to (inputs, labels, sample weights), as Keras' `fit` takes them."""

import sys
from typing import Any

from reader.contract.errors import UsageError
from reader.frameworks import numpy_tasks
from reader.streaming.stream import Stream


def for_captioning(batches: Any) -> Any:
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
        batches: What `reader.load` or `reader.stream` returned, of dictionaries with
            `image`, `tokens` and `mask`. If they have `valid`, positions without an
            example get weight 0.

    Returns:
        A `tf.data.Dataset` or a `Stream` of such tuples.

    Raises:
        UsageError: `batches` are not such dictionaries, or have several captions per
            image.
    """
    _check(batches, "for_captioning")
    if isinstance(batches, Stream):
        return batches.then(numpy_tasks.shift)
    from reader.frameworks import tensorflow_tasks

    return tensorflow_tasks.then(batches, tensorflow_tasks.shift)


def for_retrieval(batches: Any) -> Any:
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
        batches: What `reader.load` or `reader.stream` returned, of dictionaries with
            `image`, `tokens` and `mask`. If they have `valid`, positions without an
            example get weight 0.

    Returns:
        A `tf.data.Dataset` or a `Stream` of such tuples.

    Raises:
        UsageError: `batches` are not such dictionaries, or have several captions per
            image.
    """
    _check(batches, "for_retrieval")
    if isinstance(batches, Stream):
        return batches.then(numpy_tasks.pair)
    from reader.frameworks import tensorflow_tasks

    return tensorflow_tasks.then(batches, tensorflow_tasks.pair)


_NEEDED = ("image", "tokens", "mask")


def _check(batches: Any, name: str) -> None:
    names = _names(batches, name)
    if names is None:
        raise UsageError(
            f"{name} needs batches as dictionaries: call load without outputs"
        )
    missing = [part for part in _NEEDED if part not in names]
    if missing:
        raise UsageError(
            f"{name} needs {', '.join(_NEEDED)}; the batches have {', '.join(names)}, "
            f"but no {missing[0]}"
        )
    if "caption_valid" in names:
        raise UsageError(
            f'{name} needs one caption per image: load with caption="first" or '
            '"random" instead of "all"'
        )


def _names(batches: Any, name: str) -> tuple[str, ...] | None:
    """Returns the names of a batch's outputs; None if it is no dictionary."""
    if isinstance(batches, Stream):
        return batches.names
    if is_dataset(batches):
        from reader.frameworks import tensorflow_tasks

        return tensorflow_tasks.names_of(batches)
    raise UsageError(
        f"{name} needs batches from reader.load or reader.stream, got "
        f"{type(batches).__name__}: call {name} first, and as_numpy, as_jax or "
        "as_torch on its result"
    )


def is_dataset(batches: object) -> bool:
    """Returns whether batches are a `tf.data.Dataset`, without importing TensorFlow."""
    tensorflow: Any = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(batches, tensorflow.data.Dataset)
