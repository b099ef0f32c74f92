"""`reader.stream`, an iterator for each epoch."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reader
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.peers.diptych import ARGUMENTS
from tests.benchmarks.reading.roster import BATCH, SIZE


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    corpus.link(folder, stored)


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    yield from _batches(folder, task, dtype)


@functools.cache
def _batches(folder: Path, task: str, dtype: str) -> Any:
    return reader.stream(
        str(folder / "dataset"),
        batch_size=BATCH,
        image_size=SIZE,
        dtype=dtype,
        **ARGUMENTS[task],
    )
