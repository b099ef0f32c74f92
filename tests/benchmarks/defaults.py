"""Measures what the defaults rest on (docs/performance-notes-building.md).

    python -m tests.benchmarks.defaults --images=photos --captions=texts

Variants of one question run in turn, several times over; printed are medians of images
a second, of wall time and of CPU time (user and system, of all processes).
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import simplejpeg

from tests.benchmarks.usage import tree_seconds

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Variant = Callable[[], int]


def compare(title: str, variants: dict[str, Variant], repeats: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            began, cpu_began = time.perf_counter(), tree_seconds()
            num_images = variant()
            wall[name].append(num_images / (time.perf_counter() - began))
            cpu[name].append(num_images / (tree_seconds() - cpu_began))
    print(f"\n{title}\n{'':<28}{'images/s':>10}{'images/CPU-s':>14}")
    for name in variants:
        rates = (statistics.median(rates[name]) for rates in (wall, cpu))
        print(f"{name:<28}{next(rates):>10.0f}{next(rates):>14.0f}")


def codec_loop(paths: list[Path], threads: int) -> Variant:
    """Returns the bare work of writing: read, decode, resize, encode; nothing else."""

    def encode(path: Path) -> int:
        pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", strict=True)
        height, width = pixels.shape[:2]
        scale = min(1.0, 256 / min(height, width))
        size = round(width * scale), round(height * scale)
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return len(simplejpeg.encode_jpeg(small, 90, "RGB", "420"))

    def run() -> int:
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(threads) as pool:
            return len(list(pool.map(encode, paths)))

    return run


def build(args: argparse.Namespace, num_images: int, *flags: str) -> Variant:
    """Returns one whole `diptych build`, its start and planning included."""

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "beam_jobs", "build"]
            command += [f"--images={args.images}", f"--captions={args.captions}"]
            command += [f"--output={folder}/out", "--num_shards=16", *flags]
            subprocess.run(command, check=True, capture_output=True)
        return num_images

    return run


def stream(pattern: str, **options) -> Variant:
    """Returns one epoch of batches."""
    import reader

    batches = reader.load(pattern, batch_size=64, image_size=224, **options)

    def run() -> int:
        return sum(int(batch["image"].shape[0]) for batch in batches)

    run()  # Traces and warms up.
    return run


def bare_decode(pattern: str) -> Variant:
    """Returns TensorFlow's decoding of the middle of each image in a plain loop."""
    import tensorflow as tf

    from reader.contract.record import parse_example
    from reader.datasets.manifest_dataset import find_place, select
    from reader.storage.tfrecord_file import read_shard

    examples = [
        parse_example(record.data)
        for path in select([find_place(pattern)]).paths
        for record in read_shard(path)
    ]

    def run() -> int:
        for example in examples:
            height, width = example["image/height"][0], example["image/width"][0]
            side = min(224, height, width)
            region = [(height - side) // 2, (width - side) // 2, side, side]
            tf.image.decode_and_crop_jpeg(
                example["image/encoded"][0],
                region,
                channels=3,
                dct_method="INTEGER_ACCURATE",
            )
        return len(examples)

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    paths = [p for p in sorted(Path(args.images).rglob("*")) if p.is_file()]
    num = len(paths)
    compare(
        "writing: processes and threads",
        {
            "bare codec loop, 2 threads": codec_loop(paths, 2),
            "--workers=1 --threads=1": build(args, num, "--workers=1", "--threads=1"),
            "--workers=1 --threads=2": build(args, num, "--workers=1", "--threads=2"),
            "--workers=1 --threads=4": build(args, num, "--workers=1", "--threads=4"),
            "--workers=2 --threads=1": build(args, num, "--workers=2", "--threads=1"),
        },
        args.repeats,
    )
    with tempfile.TemporaryDirectory() as folder:
        from beam_jobs import JobConfig, run

        out = f"{folder}/out"
        config = JobConfig(
            images=args.images, captions=args.captions, output=out, num_shards=16
        )
        with contextlib.redirect_stdout(io.StringIO()):
            run(config)
        pattern = f"{out}/train-*.tfrecord"
        compare(
            "reading: 256 stored, 224 asked for, float32",
            {
                "bare decode-and-crop loop": bare_decode(pattern),
                "reader.load": stream(pattern),
                "  shuffle=False": stream(pattern, shuffle=False),
                "  workers=0": stream(pattern, workers=0),
                "  resampled, 256 to 224": stream(pattern, crop_fraction=1.0),
            },
            args.repeats,
        )


if __name__ == "__main__":
    main()
