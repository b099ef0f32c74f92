"""What a fresh process does for `measure.py`: one action for one case, then it ends.

prepare    writes what the peer reads
check      reads two epochs of the probe and returns what they hold
read       reads epochs and returns what they cost
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.reading import probe
from tests.benchmarks.reading.busy import BESIDE
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import PEERS, TASKS, Case
from tests.benchmarks.usage import tree_seconds


def images_of(batch: Any) -> Any:
    """Returns the images of a batch: what comes first."""
    return next(iter(batch.values())) if isinstance(batch, dict) else batch[0]


def prepare(case: Case, folder: Path, corpus: dict[str, Any]) -> dict[str, Any]:
    PEERS[case.peer].module.prepare(Corpus(**corpus), folder, TASKS[case.task])
    return {}


def check(case: Case, folder: Path) -> dict[str, Any]:
    """Returns shapes, dtypes and range of all images, and the views of each epoch."""
    shapes, dtypes, ranges, epochs = set(), set(), [], []
    for _ in range(2):
        seen = []
        for batch in PEERS[case.peer].module.epoch(folder, case.task, case.dtype):
            images = np.asarray(images_of(batch))
            shapes.add(images.shape)
            dtypes.add(images.dtype.name)
            ranges.append((float(images.min()), float(images.max())))
            seen.append(probe.views(images, 255 if case.dtype == "uint8" else 1))
        views = probe.joined(seen)._asdict()
        epochs.append({name: array.tolist() for name, array in views.items()})
    lows, highs = zip(*ranges, strict=True)
    held = {"shapes": sorted(shapes), "dtypes": sorted(dtypes), "epochs": epochs}
    return held | {"min": min(lows), "max": max(highs)}


def read(case: Case, folder: Path, seconds: float) -> dict[str, Any]:
    """Returns the `Cost` of whole epochs of at least so many seconds, after one."""
    epoch = PEERS[case.peer].module.epoch

    def count() -> int:
        batches = epoch(folder, case.task, case.dtype)
        return sum(len(images_of(batch)) for batch in batches)

    count()
    with BESIDE[case.beside]():
        cpu, began = tree_seconds(), time.perf_counter()
        images = count()
        while time.perf_counter() - began < seconds:
            images += count()
        wall = time.perf_counter() - began
        cpu = tree_seconds() - cpu
    return {"images": images, "cpu_seconds": cpu, "wall_seconds": wall}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "check": check,
    "read": read,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--case", required=True, type=json.loads)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--result", required=True, type=Path)
    parser.add_argument("--arguments", required=True, type=json.loads)
    args = parser.parse_args()
    result = ACTIONS[args.action](Case(*args.case), args.folder, **args.arguments)
    args.result.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
