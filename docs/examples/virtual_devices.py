"""Trains on two virtual devices under `tf.distribute`, with one core or many.

    python docs/examples/virtual_devices.py

cuts the CPU in two, as if it were two GPUs, and trains a small model that says which
words the captions of a picture hold: by a loop of its own, and by `model.fit`.

Measured on 2 cores of an Intel Xeon at 2.6 GHz, without a GPU, beside other work: 36 s
of CPU time (101 s of wall time), with drawing and building. The loss falls from 0.69 to
0.32, and each device has half of each batch.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from scenes import Metrics, load, run

import reader

FIRST_WORD = 4  # Pad, unknown, start and end come before: docs/format.md#tokenizers


def main(argv: list[str] | None = None) -> Metrics:
    """Runs the example; returns its metrics."""
    strategy = make_strategy()

    def train(args: argparse.Namespace) -> Metrics:
        return train_by_hand(strategy, args) | train_by_fit(strategy, args)

    return run(
        train, argv, about=__doc__, num=1000, steps=200, batch_size=64, resumes=False
    )


def make_strategy() -> tf.distribute.Strategy:
    """Returns a strategy over two halves of the CPU; before all else of TensorFlow."""
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def load_outputs(args: argparse.Namespace, *outputs: str) -> tf.data.Dataset:
    """Returns batches without end; each is that of both devices."""
    return load(args, "train", caption="random", epochs=None, outputs=outputs)


def make_model(size: int, vocab_size: int) -> keras.Model:
    """Returns `image -> logits of every word`."""
    image = layers.Input([size, size, 3])
    x = image * 2 - 1
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, layers.Dense(vocab_size)(x))


def words_loss(tokens: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns float32[batch]: how badly each word is told to be there, or not."""
    there = ops.max(ops.one_hot(tokens, logits.shape[-1]), axis=1)
    return ops.mean(
        keras.losses.binary_crossentropy(
            there[:, FIRST_WORD:, None], logits[:, FIRST_WORD:, None], from_logits=True
        ),
        axis=1,
    )


def train_by_hand(
    strategy: tf.distribute.Strategy, args: argparse.Namespace
) -> dict[str, float]:
    """Trains in a loop of one's own; returns the losses, and who got how many."""
    with strategy.scope():
        model = make_model(args.image_size, reader.tokenizer(args.data).vocab_size)
        optimizer = keras.optimizers.Adam(2e-3)
        optimizer.build(model.trainable_variables)

    def step_of_one(image: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = words_loss(tokens, model(image, training=True))
            # Devices add up their gradients: the mean is over the batch of both.
            loss = tf.reduce_sum(losses) / args.batch_size
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    @tf.function
    def step(image: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        losses = strategy.run(step_of_one, args=(image, tokens))
        return strategy.reduce("SUM", losses, axis=None)

    batches = load_outputs(args, "image", "tokens", "key").take(args.steps)
    batches = strategy.experimental_distribute_dataset(batches)
    losses, images, distinct = [], np.zeros(2, int), 0
    for image, tokens, key in reader.progress(batches, desc="by hand"):
        losses.append(float(step(image, tokens)))
        halves = [part.numpy() for part in strategy.experimental_local_results(key)]
        images += [len(half) for half in halves]
        distinct += len(np.unique(np.concatenate(halves)))
    return {
        "images_of_device_0": images[0],
        "images_of_device_1": images[1],
        "distinct_images_per_step": distinct / args.steps,
        "loss_at_start": losses[0],
        "loss_at_end": mean_of_last(losses),
    }


def mean_of_last(losses: list[float]) -> float:
    """Returns the mean of the last ten: one batch is harder than another."""
    last = losses[-10:]
    return sum(last) / len(last)


class Losses(keras.callbacks.Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        """Begins with none."""
        super().__init__()
        self.losses: list[float] = []
        self.sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Adds one; what Keras tells is the mean since the epoch began."""
        total = logs["loss"] * (batch + 1)
        self.losses.append(total - self.sum)
        self.sum = total


def train_by_fit(
    strategy: tf.distribute.Strategy, args: argparse.Namespace
) -> dict[str, float]:
    """Trains by Keras, which distributes the batches itself; returns the losses."""
    with strategy.scope():
        model = make_model(args.image_size, reader.tokenizer(args.data).vocab_size)
        model.compile(keras.optimizers.Adam(2e-3), words_loss, jit_compile=False)
    losses = Losses()
    # Under a strategy fit looks at a batch before it trains. To batches without end
    # that is no matter: each iterator begins at the same step.
    model.fit(
        load_outputs(args, "image", "tokens"),
        steps_per_epoch=args.steps,
        shuffle=False,  # The reader has done that.
        verbose=2,
        callbacks=[losses],
    )
    return {
        "fit_loss_at_start": losses.losses[0],
        "fit_loss_at_end": mean_of_last(losses.losses),
    }


if __name__ == "__main__":
    main()
