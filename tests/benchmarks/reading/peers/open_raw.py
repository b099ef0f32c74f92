"""`reader.open` of raw pixels, in a plain loop of one thread."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import reader
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import BATCH, SIZE


def prepare(corpus: Corpus, folder: Path) -> None:
    corpus.link(folder, "raw")


def epoch(folder: Path, dtype: str) -> Iterator[Any]:
    dataset = _dataset(folder)
    order = np.random.permutation(len(dataset))
    for at in range(0, len(order) - BATCH + 1, BATCH):
        rows = [dataset[number] for number in order[at : at + BATCH]]
        yield tuple(np.stack(column) for column in zip(*rows, strict=True))


@functools.cache
def _dataset(folder: Path) -> Any:
    outputs = ("image", "tokens", "mask")
    return reader.open(str(folder / "dataset"), outputs=outputs, transform=_cut)


def _cut(row: Any) -> Any:
    image, tokens, mask = row
    top, left = (image.shape[0] - SIZE) // 2, (image.shape[1] - SIZE) // 2
    return image[top : top + SIZE, left : left + SIZE], tokens, mask
