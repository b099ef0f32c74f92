"""`reader.load`, an iterator for each epoch."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reader
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import BATCH, SIZE


def prepare(corpus: Corpus, folder: Path) -> None:
    corpus.link(folder)


def epoch(folder: Path, dtype: str) -> Iterator[Any]:
    yield from _batches(folder, dtype)


@functools.cache
def _batches(folder: Path, dtype: str) -> Any:
    dataset = str(folder / "dataset")
    return reader.load(dataset, batch_size=BATCH, image_size=SIZE, dtype=dtype)
