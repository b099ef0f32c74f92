"""What a fresh process does for `measure.py`: one task for one peer, then it ends.

prepare    writes what the peer reads
check      reads an epoch and tells what it held
read       reads some epochs and tells how many images, and how long it took
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.clock import tree_seconds
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import PEERS, Peer


def images_of(batch: Any) -> Any:
    """Returns the images of a batch: what comes first."""
    return next(iter(batch.values())) if isinstance(batch, dict) else batch[0]


def prepare(peer: Peer, folder: Path, corpus: dict[str, Any]) -> dict[str, Any]:
    peer.module.prepare(Corpus(**corpus), folder)
    return {}


def check(peer: Peer, folder: Path, dtype: str) -> dict[str, Any]:
    """Returns the shapes, dtypes, number, range and mean of an epoch's images."""
    held: dict[str, Any] = {"shapes": set(), "dtypes": set(), "images": 0}
    ranges, means = [], []
    for batch in peer.module.epoch(folder, dtype):
        images = np.asarray(images_of(batch))
        held["shapes"].add(images.shape)
        held["dtypes"].add(images.dtype.name)
        held["images"] += len(images)
        ranges.append((float(images.min()), float(images.max())))
        means.append(float(images.mean(dtype=np.float64)))
    lows, highs = zip(*ranges, strict=True)
    held |= {"min": min(lows), "max": max(highs), "mean": float(np.mean(means))}
    return held | {name: sorted(held[name]) for name in ("shapes", "dtypes")}


def read(peer: Peer, folder: Path, dtype: str, epochs: int) -> dict[str, Any]:
    """Returns the images, wall and CPU seconds of the epochs, each by itself."""
    epoch, images, seconds, cpu = peer.module.epoch, [], [], [tree_seconds()]
    for _ in range(epochs):
        began = time.perf_counter()
        images.append(sum(len(images_of(batch)) for batch in epoch(folder, dtype)))
        seconds.append(time.perf_counter() - began)
        cpu.append(tree_seconds())
    each = [after - before for before, after in pairwise(cpu)]
    return {"images": images, "seconds": seconds, "cpu_seconds": each}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "check": check,
    "read": read,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--result", required=True, type=Path)
    parser.add_argument("--arguments", required=True, type=json.loads)
    args = parser.parse_args()
    told = TASKS[args.task](PEERS[args.peer], args.folder, **args.arguments)
    args.result.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
