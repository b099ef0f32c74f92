"""What the Keras examples share: data, a command line, checkpoints, metrics."""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import keras
import tensorflow as tf

import reader

SIZE = 64
MAX_TOKENS = 25  # Captions of scenes have no more, with start and end tokens.

Metrics = dict[str, float]


def run(
    train: Callable[[argparse.Namespace], Metrics],
    argv: list[str] | None,
    *,
    about: str,
    num: int,
    steps: int,
    batch_size: int,
    resumes: bool = True,
) -> Metrics:
    """Runs an example on a dataset; prints and returns its metrics.

    Args:
        train: Trains and evaluates as the arguments say.
        argv: The command line; None for that of the process.
        about: The example's description.
        num: Scenes to draw, by default.
        steps: Training steps, by default.
        batch_size: Examples per step, by default.
        resumes: Whether it calls `fit` and `load_unseen`, which take more arguments.
    """
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", help="folder of a dataset; by default, scenes are drawn")
    add("--image_size", type=int, default=SIZE, help="side of images, in pixels")
    add("--max_tokens", type=int, default=MAX_TOKENS, help="tokens of a caption")
    add("--num", type=int, help=f"scenes to draw, {num:,} without --data")
    add("--steps", type=int, default=steps, help="training steps")
    add("--batch_size", type=int, default=batch_size, help="examples per step")
    add("--seed", type=int, default=0, help="of scenes and initial weights")
    if resumes:
        add("--eval_split", default="validation", help="the split to evaluate on")
        add("--checkpoint", help="file to save to and to resume from, *.weights.h5")
        add("--save_every", type=int, help="steps between saves, a tenth of --steps")
    args = parser.parse_args(argv)
    if resumes and args.checkpoint and not args.checkpoint.endswith(".weights.h5"):
        parser.error(f"--checkpoint={args.checkpoint} must end in .weights.h5")
    keras.utils.set_random_seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None or args.num is not None:
            args.data = args.data or os.path.join(folder, "dataset")
            make_dataset(args.data, num if args.num is None else args.num, args.seed)
        metrics = train(args)
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


def load(args: argparse.Namespace, split: str, **options) -> tf.data.Dataset:
    """Returns batches of whole images: captions speak of corners, and of left."""
    return reader.load(
        args.data,
        split=split,
        batch_size=args.batch_size,
        image_size=args.image_size,
        crop="none",
        max_tokens=args.max_tokens,
        **options,
    )


def load_unseen(args: argparse.Namespace, **options) -> tf.data.Dataset:
    """Returns each example of the other split once."""
    return load(args, args.eval_split, shuffle=False, remainder="pad", **options)


def compile_model(model: keras.Model, loss: Callable, steps: int) -> None:
    """Sets the loss, and an optimizer whose rate rises and falls over the steps."""
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10
    )
    # On CPUs, TensorFlow's convolutions are faster without XLA.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(keras.optimizers.AdamW(rate), loss, jit_compile=jit)


def fit(
    model: keras.Model,
    task: Callable[[tf.data.Dataset], tf.data.Dataset],
    args: argparse.Namespace,
) -> None:
    """Trains up to `--steps`, from the checkpoint on if there is one.

    Args:
        model: A compiled model.
        task: `reader.for_captioning` or `reader.for_retrieval`.
        args: The command line.

    Raises:
        SystemExit: What is left to train is not a multiple of `--save_every`.
    """
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    if args.checkpoint and os.path.exists(args.checkpoint):
        model.load_weights(args.checkpoint)  # The optimizer's state is in it.
    step = int(optimizer.iterations)
    left = max(0, args.steps - step)
    save_every = args.save_every or math.gcd(left, max(1, args.steps // 10))
    if left % save_every:
        raise SystemExit(
            f"{left} steps are left to train: pass a --save_every that divides it, got "
            f"{save_every}"
        )
    # A new caption of each image every epoch.
    batches = load(args, "train", caption="random", epochs=None, start_step=step)
    model.fit(
        task(batches),
        epochs=left // save_every,
        steps_per_epoch=save_every,
        shuffle=False,  # The reader has done that.
        callbacks=[Checkpoint(args.checkpoint)],
        verbose=0,
    )


class Checkpoint(keras.callbacks.Callback):
    """Prints the loss and saves the model each `--save_every` steps, an "epoch"."""

    def __init__(self, path: str | None) -> None:
        """Saves nothing without a path."""
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Metrics) -> None:
        """Replaces the last checkpoint at once: a kill leaves it whole."""
        step = int(self.model.optimizer.iterations)
        print(f"step {step}: loss {logs['loss']:.4f}", flush=True)
        if self.path:
            new = self.path.replace(".weights.h5", ".new.weights.h5")
            self.model.save_weights(new, overwrite=True)
            os.replace(new, self.path)
