"""torchvision's transforms in a PyTorch DataLoader, with a worker for each core.

They take images that `reader.open` has decoded, not loose files. Tensors of uint8 are
its fastest input; their memory is that of the decoded image, pixel by pixel, for which
its antialiased resize has an implementation of its own.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

import reader
from tests.benchmarks.reading.peers.diptych import prepare as prepare
from tests.benchmarks.reading.pixels import CORES, cast, torchvision_transform
from tests.benchmarks.reading.roster import BATCH


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    for image, tokens, mask in _loader(folder, task):
        yield cast(image, dtype), tokens, mask


@functools.cache
def _loader(folder: Path, task: str) -> Any:
    dataset: Any = reader.open(
        str(folder / "dataset"),
        outputs=("image", "tokens", "mask"),
        transform=functools.partial(_transformed, torchvision_transform(task)),
    )
    return DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=CORES,
        drop_last=True,
        persistent_workers=True,
    )


def _transformed(transform: Callable[[Any], Any], example: Any) -> Any:
    image, *others = example
    return transform(torch.from_numpy(image).permute(2, 0, 1)), *others
