"""Trains a small captioner on drawn scenes, and checks what it says of unseen ones.

    python docs/examples/captioning.py

draws scenes of coloured shapes, builds a dataset of them, trains, and prints metrics.
A CNN makes 8 × 8 places of a picture; a GRU writes words, looking at these places.
"""

import argparse
import os
import re
from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from scenes import MAX_TOKENS, SIZE, Metrics, load, run

import reader

WIDTH = 128
PAD, _, START, END = range(4)  # docs/format.md#tokenizers
NAMED = re.compile(
    "(red|orange|yellow|green|blue|purple|pink|brown) "
    "(circle|square|triangle|star|heart|cross)"
)


def main(argv: list[str] | None = None) -> Metrics:
    """Runs the example; returns its metrics."""
    return run(
        train_and_evaluate, argv, about=__doc__, num=6000, steps=1500, batch_size=32
    )


def train_and_evaluate(data: str, args: argparse.Namespace) -> dict[str, float]:
    """Trains on one split, and returns metrics of the other."""
    model = make_model(reader.tokenizer(data).vocab_size)
    compile_model(model, args.steps)
    # A new caption of each picture every epoch.
    train = load(data, "train", args.batch_size, caption="random", epochs=None)
    unseen = load(data, "validation", args.batch_size, remainder="pad", shuffle=False)
    unseen = reader.for_captioning(unseen)
    before = model.evaluate(unseen, verbose=0)
    model.fit(
        reader.for_captioning(train),
        steps_per_epoch=max(1, args.steps // 10),
        epochs=10,
        shuffle=False,  # The reader has done that.
        verbose=2,
    )
    after = model.evaluate(unseen, verbose=0)
    losses = {"loss_at_start": before, "loss_at_end": after}
    return losses | check_captions(model, data, args.batch_size)


def compile_model(model: keras.Model, steps: int) -> None:
    """Says how to train it."""
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10
    )
    # The mean over tokens, and not over what is padding too.
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    # On CPUs, convolutions are faster without XLA.
    model.compile(keras.optimizers.AdamW(rate), loss, jit_compile=False)


def make_model(vocab_size: int) -> keras.Model:
    """Returns `(image, tokens_in) -> logits of the next token`."""
    image = layers.Input([SIZE, SIZE, 3])
    tokens = layers.Input([None], dtype="int32")
    places = see(image)
    gist = layers.Dense(WIDTH, activation="tanh")(
        layers.GlobalAveragePooling1D()(places)
    )
    words = layers.Embedding(vocab_size, WIDTH)(tokens)
    said = layers.GRU(WIDTH, return_sequences=True)(words, initial_state=gist)
    # Where to look for the next word depends on those before it.
    looked = layers.MultiHeadAttention(4, WIDTH // 4)(said, places)
    both = layers.Concatenate()([said, looked])
    thought = layers.Dense(2 * WIDTH, activation="relu")(both)
    return keras.Model([image, tokens], layers.Dense(vocab_size)(thought))


def see(image: keras.KerasTensor) -> keras.KerasTensor:
    """Returns float32[batch, 64, WIDTH]: what is at each place of a picture."""
    x = image * 2 - 1
    for filters, strides in ((32, 2), (64, 2), (WIDTH, 2), (WIDTH, 1)):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        # Its means have to settle within few steps: not 0.99, as is usual.
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
    x = Positions()(layers.Reshape([-1, WIDTH])(x))
    return layers.LayerNormalization()(x)


class Positions(layers.Layer):
    """Adds a learned vector to each place: attention alone knows no left and right."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes the vectors."""
        self.vectors = self.add_weight(shape[1:], "random_normal")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Adds them."""
        return x + self.vectors


def check_captions(model: keras.Model, data: str, batch_size: int) -> dict[str, float]:
    """Captions each scene of the validation split, and tells how often truly so."""
    said, own = [], []
    for images, captions in unseen_scenes(data, batch_size):
        said += describe(model, images, data)
        own += captions
    for text, captions in list(zip(said, own, strict=True))[:5]:
        print(f"says {text!r}\n  of {captions[0]!r}")
    named = [shapes_in(text) for text in said]
    # Of five captions that a scene has, one at least names all of its shapes.
    there = [shapes_in(" ".join(captions)) for captions in own]
    return {
        "scenes": len(own),
        "true_captions": share_true(named, there),
        # What the same captions are worth if each is held against another scene.
        "true_by_chance": share_true(named, there[1:] + there[:1]),
        "shapes_named": share_named(named, there),
    }


def shapes_in(text: str) -> set[tuple[str, str]]:
    """Returns what a text names: `"two red stars"` -> `{("red", "star")}`."""
    return set(NAMED.findall(text))


def share_true(named: list[set], there: list[set]) -> float:
    """Returns how many captions name shapes, and none but those in their scene."""
    pairs = zip(named, there, strict=True)
    return float(np.mean([bool(some) and some <= shapes for some, shapes in pairs]))


def share_named(named: list[set], there: list[set]) -> float:
    """Returns how many of the scenes' shapes are named: who says little errs little."""
    found = sum(len(some & shapes) for some, shapes in zip(named, there, strict=True))
    return found / sum(map(len, there))


def unseen_scenes(data: str, batch_size: int) -> Iterator[tuple]:
    """Yields images and lists of their captions, every scene once."""
    batches = load(
        data,
        "validation",
        batch_size,
        caption="all",
        outputs=("image", "caption", "valid"),
        remainder="pad",
        shuffle=False,
    )
    for image, captions, valid in reader.as_numpy(batches):
        texts = [[text.decode() for text in row] for row in captions[valid]]
        yield image[valid], texts


def describe(model: keras.Model, images: np.ndarray, data: str) -> list[str]:
    """Returns a caption of each image: at each step, the likeliest word."""
    tokenizer = reader.tokenizer(data)
    tokens = np.full([len(images), MAX_TOKENS], PAD, np.int32)
    tokens[:, 0] = START
    for step in range(1, MAX_TOKENS):
        logits = model.predict_on_batch([images, tokens[:, :-1]])
        going_on = ~(tokens == END).any(axis=1)
        tokens[going_on, step] = logits[going_on, step - 1].argmax(-1)
    return [tokenizer.decode(row) for row in tokens]


if __name__ == "__main__":
    main()
