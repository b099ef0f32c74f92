"""`reader.load`, an iterator for each epoch."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reader
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.roster import BATCH, SIZE

# The arguments of ours for each task.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "random_resized": {"crop": "random_resized", "flip": True},
    "center": {},
    "raw": {},
}


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    corpus.link(folder, stored)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    yield from _batches(folder, task, dtype)


@functools.cache
def _batches(folder: Path, task: str, dtype: str) -> Any:
    return reader.load(
        str(folder / "dataset"),
        batch_size=BATCH,
        image_size=SIZE,
        dtype=dtype,
        **ARGUMENTS[task],
    )
