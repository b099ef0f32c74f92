"""`diptych demo`: draws, builds, verifies and streams a small dataset."""

import argparse
import os
import tempfile
import time
from typing import Any

from beam_jobs.cli.build import build
from beam_jobs.cli.libraries import import_beam, require
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from reader.console.parser import add_command, not_empty
from reader.contract.errors import BuildError, UsageError


def add_parser(commands: Any) -> None:
    """Adds the command `demo` to the command line."""
    text = "Draws a small dataset, builds it, verifies it and streams it."
    parser = add_command(
        commands,
        "demo",
        "OUT [--num=N]",
        text,
        group="make a dataset",
        examples=("diptych demo out", "diptych demo out --num=1000"),
    )
    parser.add_argument("output", metavar="OUT", type=not_empty, help="a new folder")
    parser.add_argument(
        "--num",
        type=int,
        metavar="N",
        default=200,
        help="number of scenes (%(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    require("demo", apache_beam="beam", simplejpeg="beam", tensorflow="reader")
    import_beam()
    return demo(namespace.output, namespace.num)


def demo(output: str, num: int) -> int:
    """Draws scenes, builds a dataset from them, verifies it and streams it.

    Args:
        output: Path of the dataset to create.
        num: Number of scenes, at least 10.

    Returns:
        Exit status of the first failed step, or 0.

    Raises:
        UsageError: `num` is too small to split and to batch.
        BuildError: Streaming gives no images.
    """
    from beam_jobs.sample_data import write_sample

    if num < 10:
        raise UsageError(f"num must be at least 10, got {num}")
    with tempfile.TemporaryDirectory(prefix="diptych-demo-") as folder:
        write_sample(folder, num, captions_per_image=2)
        print(f"drew {num} scenes of colored shapes with two captions each")
        config = JobConfig(
            images=os.path.join(folder, "images"),
            captions=os.path.join(folder, "captions"),
            output=output,
            splits=parse_splits("train=0.9,validation=0.1"),
            num_shards=4,
            captions_per_file="lines",
        )
        status = build(config, [])
    # Only the command line may import `reader`, see tests/test_boundaries.py.
    from reader.__main__ import main as read

    return status or read(["verify", output]) or _stream(output, num // 2)


def _stream(output: str, num: int) -> int:
    import reader
    from reader.console.main import import_tensorflow

    # TensorFlow logs a lot on import, which would hide the output of the demo.
    import_tensorflow("diptych demo")

    pattern = os.path.join(output, "train-*.tfrecord")
    batches = reader.load(pattern, batch_size=min(16, num), image_size=224)
    tokenizer = reader.tokenizer(output)
    began, num_images = time.monotonic(), 0
    for batch in batches:
        num_images += int(batch["image"].shape[0])
    if not num_images:
        raise BuildError(f"nothing was streamed from {output}")
    rate = num_images / (time.monotonic() - began)
    print(f"streamed {len(batches)} batches, {rate:.0f} images/s; the last batch holds")
    for name, tensor in batch.items():
        print(f"  {name:<8}{tensor.dtype.name}{list(tensor.shape)}")
    print(f"  its first caption: {tokenizer.decode(batch['tokens'][0].numpy())}")
    return 0
