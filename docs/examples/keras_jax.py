"""Trains a Keras model on the JAX backend, straight from TFRecords.

    python docs/examples/keras_jax.py

`model.fit` takes the batches as they are: TensorFlow reads and decodes, JAX computes.
The model is a small captioner; docs/examples/captioning.py has a better one.
"""

import argparse
import os

# Before keras is imported, which then keeps to it.
os.environ["KERAS_BACKEND"] = "jax"

import keras
import tensorflow as tf
from keras import layers
from scenes import MAX_TOKENS, SIZE, Metrics, load, run

import reader

WIDTH = 64


def main(argv: list[str] | None = None) -> Metrics:
    """Runs the example; returns its metrics."""
    return run(train, argv, about=__doc__, num=1000, steps=200, batch_size=32)


def load_pairs(data: str, split: str, batch_size: int, **options) -> tf.data.Dataset:
    """Returns `((image, tokens_in), tokens_out, weights)`."""
    return reader.for_captioning(load(data, split, batch_size, **options))


def train(data: str, args: argparse.Namespace) -> dict[str, float]:
    """Trains on one split; returns losses of the other."""
    model = make_model(reader.tokenizer(data).vocab_size)
    model.compile(
        keras.optimizers.Adam(2e-3),
        # The mean over tokens, and not over what is padding too.
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    unseen = load_pairs(
        data, "validation", args.batch_size, shuffle=False, remainder="pad"
    )
    before = model.evaluate(unseen, verbose=0)
    model.fit(
        load_pairs(data, "train", args.batch_size, caption="random", epochs=None),
        steps_per_epoch=args.steps,
        shuffle=False,  # The reader has done that.
        verbose=2,
    )
    return {
        "loss_at_start": before,
        "loss_at_end": model.evaluate(unseen, verbose=0),
    }


def make_model(vocab_size: int) -> keras.Model:
    """Returns `(image, tokens_in) -> logits of the next token`."""
    image = layers.Input([SIZE, SIZE, 3])
    tokens = layers.Input([MAX_TOKENS - 1], dtype="int32")
    x = image * 2 - 1
    for filters in (16, 32, WIDTH):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    seen = layers.Dense(WIDTH, activation="tanh")(layers.Flatten()(x))
    words = layers.Embedding(vocab_size, WIDTH)(tokens)
    # The picture is what the writer has in mind before the first word.
    written = layers.GRU(WIDTH, return_sequences=True)(words, initial_state=seen)
    return keras.Model([image, tokens], layers.Dense(vocab_size)(written))


if __name__ == "__main__":
    main()
