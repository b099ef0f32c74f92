"""What reading layers costs: CPU time of an image, in one process.

    python tests/benchmarks/layers.py --dataset=out --split=train

Compares batches without layers, with captions that replace those of the dataset, with
512 halves, and with both. The layers are written to a temporary folder.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from written_layers import Captions, write_layer

import reader
from reader.datasets.manifest_dataset import open_dataset

HALVES, BATCH, ROUNDS = 512, 256, 3


def write_layers(dataset: Path, folder: Path) -> dict[str, list[str]]:
    """Writes two layers; returns the paths of each choice of them."""
    opened = open_dataset(dataset)
    splits = [split.name for split in opened.manifest.splits]
    keys = [
        key.encode()
        for split in splits
        for (key,) in reader.open(dataset, split=split, outputs=("key",))
    ]
    rng = np.random.default_rng(0)
    rows = {key: {"values": rng.random(HALVES).tolist()} for key in keys}
    texts = {key: ["a picture of " + "a thing " * 20] for key in keys}
    captions = Captions(
        texts,
        opened.tokenizer().encode,
        opened.manifest.tokenizer,
        opened.tokenizer_data(),
    )
    columns = {"values": ("float16", (HALVES,))}
    halves = str(
        write_layer(dataset, "halves", columns, rows, folder=folder / "halves")
    )
    recap = str(
        write_layer(dataset, "recap", captions=captions, folder=folder / "recap")
    )
    return {
        "none": [],
        "captions": [recap],
        f"{HALVES} halves": [halves],
        "both": [halves, recap],
    }


def seconds(dataset: Path, split: str, layers: list[str]) -> tuple[float, int]:
    """Returns the least CPU time of an epoch, and its number of images."""
    outputs = ["image", "tokens"]
    if any(Path(layer).name == "halves" for layer in layers):
        outputs.append("halves/values")
    batches = reader.stream(
        str(dataset),
        split=split,
        batch_size=BATCH,
        image_size=224,
        outputs=tuple(outputs),
        layers=layers or None,
        workers=0,
    )
    best, num = float("inf"), 0
    for _ in range(ROUNDS):
        began, num = time.process_time(), 0
        for batch in batches:
            num += len(batch[0])
        best = min(best, time.process_time() - began)
    return best, num


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="train")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        choices = write_layers(arguments.dataset, Path(folder))
        print("| layers | CPU µs an image | more than without |\n|---|---|---|")
        without = None
        for name, layers in choices.items():
            spent, num = seconds(arguments.dataset, arguments.split, layers)
            each = spent / num * 1e6
            without = each if without is None else without
            print(f"| {name} | {each:.0f} | {each - without:.0f} |", flush=True)


if __name__ == "__main__":
    main()
