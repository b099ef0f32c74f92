"""What pages of the docs leave to the reader: a model, a strategy, a host's place."""

from typing import Any

SIZE, MAX_TOKENS = 64, 64


def names(page: str) -> dict[str, Any]:
    """Returns names that a page's Python blocks take for granted."""
    if page == "docs/order.md":
        return {**_session(), "model": autoencoder(), "rank": 1, "world_size": 4}
    if page == "docs/training.md":
        return {**_session(), "model": captioner()}
    return {}


def _session() -> dict[str, Any]:
    import torch._dynamo  # Before TensorFlow: docs/recipes/pytorch.md.

    assert torch
    import jax
    import tensorflow as tf
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    return {
        "jax": jax,
        "sharding": NamedSharding(mesh, PartitionSpec("data")),
        "state": None,
        "step": 7,
        "strategy": tf.distribute.MirroredStrategy(["CPU:0"]),
        "tf": tf,
        "to_tensors": to_tensors,
        "train_step": lambda *args: None,
    }


def autoencoder() -> Any:
    """Returns a compiled model of images and tokens."""
    import keras

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(MAX_TOKENS)])
    model.compile("sgd", "mse")
    return model


def captioner() -> Any:
    """Returns a compiled model `(image, tokens_in) -> logits`."""
    import keras
    from keras import layers

    image = layers.Input([SIZE, SIZE, 3])
    tokens = layers.Input([MAX_TOKENS - 1], dtype="int32")
    seen = layers.Dense(8)(layers.GlobalAveragePooling2D()(image))
    words = layers.Embedding(1000, 8)(tokens)
    both = layers.Add()([words, layers.Reshape([1, 8])(seen)])
    model = keras.Model([image, tokens], layers.Dense(1000)(both))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    return model


def to_tensors(example: dict[str, Any]) -> dict[str, Any]:
    """Returns an example as tensors of one size."""
    import torch

    image = torch.from_numpy(example["image"][:SIZE, :SIZE].copy())
    return {"image": image, "tokens": torch.from_numpy(example["tokens"])}
