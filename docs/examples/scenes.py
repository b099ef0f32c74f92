"""What the examples share: scenes to train on, a command line, metrics."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import keras
import tensorflow as tf

import reader

SIZE = 64
MAX_TOKENS = 25  # Of such scenes no caption has more, start and end among them.

Metrics = dict[str, float]


def run(
    train: Callable[[str, argparse.Namespace], Metrics],
    argv: list[str] | None,
    *,
    about: str,
    num: int,
    steps: int,
    batch_size: int,
) -> Metrics:
    """Runs an example on a dataset; prints and returns its metrics.

    Args:
        train: From the folder of a dataset, and the arguments, to metrics.
        argv: The command line; None for that of the process.
        about: The example's description.
        num: Of scenes to draw, if the command line does not say.
        steps: Of training, likewise.
        batch_size: Examples per step, likewise.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", help="folder of the dataset (a temporary one)")
    parser.add_argument("--num", type=int, default=num, help=f"scenes to draw ({num})")
    parser.add_argument("--steps", type=int, default=steps, help=f"({steps})")
    parser.add_argument(
        "--batch_size", type=int, default=batch_size, help=f"({batch_size})"
    )
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    args = parser.parse_args(argv)
    keras.utils.set_random_seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or os.path.join(folder, "dataset")
        make_dataset(data, args.num, args.seed)
        metrics = train(data, args)
    for name, value in metrics.items():
        print(f"{name}: {value:.4g}")
    return metrics


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
    """Returns batches of whole scenes: captions speak of corners, and of left."""
    return reader.load(
        data,
        split=split,
        batch_size=batch_size,
        image_size=SIZE,
        crop="none",
        max_tokens=MAX_TOKENS,
        **options,
    )
