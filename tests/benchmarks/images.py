"""What crops, flips and dtypes cost, and how near scaled decoding comes.

    python -m tests.benchmarks.images --pattern='out/train-*' --photos=photos

Rates are of whole epochs, in turn, as medians of images per CPU-second. Differences are
in levels of 255, against decoding, cutting and resampling by libjpeg-turbo and Pillow.
"""

import argparse
import os
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import simplejpeg
from PIL import Image

import reader
from reader.pixels.jpeg import decode_region
from reader.pixels.resample import resample, resample_part
from tests.benchmarks.usage import tree_seconds

BATCH = 64
VARIANTS = {
    "center, 224 of 256": {},
    "uint8": {"dtype": "uint8"},
    "bfloat16": {"dtype": "bfloat16"},
    "normalize": {"normalize": "imagenet"},
    "channels first": {"data_format": "channels_first"},
    "random": {"crop": "random"},
    "flip": {"flip": True},
    "resampled (crop_fraction=1)": {"crop_fraction": 1.0},
    "random_resized": {"crop": "random_resized"},
    "caption=random": {"caption": "random"},
    "image_size=112": {"image_size": 112},
    "image_size=64": {"image_size": 64},
    "image_size=32": {"image_size": 32},
}


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", help="for rates")
    parser.add_argument("--photos", help="for differences")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.pattern:
        print_rates(args.pattern, args.repeats)
    if args.photos:
        print_differences(Path(args.photos))


def print_rates(pattern: str, repeats: int) -> None:
    loaded = {
        name: reader.load(pattern, batch_size=BATCH, **{"image_size": 224, **settings})
        for name, settings in VARIANTS.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in loaded}
    for repeat in range(repeats + 1):
        for name, batches in loaded.items():
            before, num = tree_seconds(), 0
            for _ in batches:
                num += BATCH
            if repeat:  # The first time everything is built.
                rates[name].append(num / (tree_seconds() - before))
    for name, each in rates.items():
        print(f"| {name} | {statistics.median(each):,.0f} |")


def print_differences(folder: Path) -> None:
    chance = random.Random(0)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for pixels in photographs(folder):
        data = simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="420")
        whole, (height, width, _) = simplejpeg.decode_jpeg(data), pixels.shape
        for low, high in ((1, 2), (2, 3), (3, 4), (4, 8), (8, 16)):
            target = chance.choice((32, 64, 96))
            side = int(target * chance.uniform(low, high))
            if side > min(height, width):
                continue
            top, left = (
                chance.randint(0, height - side),
                chance.randint(0, width - side),
            )
            region = (top, left, side, side)
            made = reduced(data, (height, width), region, (target, target))
            cut = Image.fromarray(whole[top : top + side, left : left + side])
            expected = cut.resize((target, target), Image.Resampling.BILINEAR)
            difference = np.abs(made - np.asarray(expected, float))
            found.setdefault(f"{low} to {high}", []).append(
                (difference.mean(), np.percentile(difference, 99), difference.max())
            )
    for times, values in found.items():
        mean, high, largest = np.array(values).T
        print(
            f"| {times} | {len(values)} | {mean.mean():.2f} | {mean.max():.2f} | "
            f"{high.max():.0f} | {largest.max():.0f} |"
        )


def reduced(data: bytes, size: Any, region: Any, target: Any) -> np.ndarray:
    """Returns a region as the reader decodes and resamples it."""
    pixels, place = decode_region(np.frombuffer(data, np.uint8), size, region, target)
    out = np.empty((*target, 3), np.uint8)
    if place == region:
        top, left, height, width = region
        resample(pixels[top : top + height, left : left + width], out)
    else:
        resample_part(pixels, place[:2], place[2:], out)
    return out


def photographs(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.rglob("*.jp*g"))[:300]:
        try:
            image = Image.open(path).convert("RGB")
        except OSError:
            continue
        if min(image.size) >= 256:
            yield np.ascontiguousarray(image)


if __name__ == "__main__":
    main()
