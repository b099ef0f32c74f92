"""`reader.open` in a PyTorch DataLoader, with a worker for each core.

As in our recipe, each epoch starts workers of its own, which learn its number.
"""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

import reader
from tests.benchmarks.reading.peers.diptych import ARGUMENTS
from tests.benchmarks.reading.peers.diptych import prepare as prepare
from tests.benchmarks.reading.pixels import CORES, cast
from tests.benchmarks.reading.roster import BATCH, SIZE


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    loader, numbers = _loader(folder, task)
    loader.dataset.set_epoch(next(numbers))
    for image, tokens, mask in loader:
        yield cast(image, dtype), tokens, mask


@functools.cache
def _loader(folder: Path, task: str) -> tuple[Any, Iterator[int]]:
    dataset: Any = reader.open(
        str(folder / "dataset"),
        outputs=("image", "tokens", "mask"),
        image_size=SIZE,
        **ARGUMENTS[task],
    )
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=CORES, drop_last=True)
    return loader, itertools.count()
