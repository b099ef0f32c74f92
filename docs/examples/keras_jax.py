"""Trains a Keras model on the JAX backend, straight from TFRecords.

    python docs/examples/keras_jax.py

`model.fit` takes the batches as they are: TensorFlow reads and decodes, JAX computes.
The model is a small captioner; docs/examples/captioning.py has a better one.
"""

import argparse
import os
import subprocess
import sys
import tempfile

# Before keras is imported, which then keeps to it.
os.environ["KERAS_BACKEND"] = "jax"

import keras
import tensorflow as tf
from keras import layers

import reader

SIZE = 64
MAX_TOKENS = 25  # Of such scenes no caption has more, start and end among them.
WIDTH = 64


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Runs the example; returns its metrics."""
    args = parse_args(argv)
    keras.utils.set_random_seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or os.path.join(folder, "dataset")
        make_dataset(data, args.num, args.seed)
        metrics = train(data, args)
    for name, value in metrics.items():
        print(f"{name}: {value:.4g}")
    return metrics


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the dataset (a temporary one)")
    parser.add_argument("--num", type=int, default=1000, help="scenes to draw (1000)")
    parser.add_argument("--steps", type=int, default=200, help="(200)")
    parser.add_argument("--batch_size", type=int, default=32, help="(32)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    return parser.parse_args(argv)


def make_dataset(data: str, num: int, seed: int) -> None:
    """Draws scenes and builds a dataset of them, unless that was done before."""
    # The manifest comes last: where it is, the dataset is whole.
    if os.path.exists(os.path.join(data, "manifest.json")):
        return
    with tempfile.TemporaryDirectory() as scenes:
        sample = f"sample {scenes} --num={num} --seed={seed} --captions_per_image=5"
        build = (
            f"build --images={scenes}/images --captions={scenes}/captions "
            f"--output={data} --splits=train=0.9,validation=0.1 --num_shards=4 "
            f"--image_size={SIZE} --captions_per_file=lines"
        )
        for command in (sample, build):
            # As `diptych sample …` and `diptych build …` in a shell.
            diptych = [sys.executable, "-m", "beam_jobs", *command.split()]
            subprocess.run(diptych, check=True)


def load(data: str, split: str, batch_size: int, **options) -> tf.data.Dataset:
    """Returns `((image, tokens_in), tokens_out, weights)`."""
    batches = reader.load(
        data,
        split=split,
        batch_size=batch_size,
        image_size=SIZE,
        crop="none",
        max_tokens=MAX_TOKENS,
        **options,
    )
    return reader.for_captioning(batches)


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
    unseen = load(data, "validation", args.batch_size, shuffle=False, remainder="pad")
    before = model.evaluate(unseen, verbose=0)
    model.fit(
        load(data, "train", args.batch_size, caption="random", epochs=None),
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
