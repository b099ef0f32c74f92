"""Grain: an ArrayRecord file, decoded with Pillow in a worker for each core.

A record is int32[64] tokens and the stored JPEG after it: to take that apart costs
nothing. Random crops are torchvision's, of Pillow's images, with Grain's seeds. Batches
come from one iterator without end, as Grain's users have it, which starts its workers
once.
"""

import functools
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grain.python as grain
import numpy as np
import torch
from absl import flags
from array_record.python.array_record_module import ArrayRecordWriter
from numpy.typing import NDArray
from PIL import Image

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.pixels import CORES, with_pillow
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS

_TOKEN_BYTES = 4 * MAX_TOKENS


class Decode(grain.RandomMapTransform):  # type: ignore[misc, unused-ignore]
    """From a record to what a batch is made of."""

    def __init__(self, task: str, dtype: str) -> None:
        self._cut, self._dtype = with_pillow(task), dtype
        self._random = task != "center"

    def random_map(
        self, record: bytes, rng: np.random.Generator
    ) -> tuple[NDArray[Any], ...]:
        if self._random:
            torch.manual_seed(int(rng.integers(2**63)))
        image: NDArray[Any] = self._cut(Image.open(io.BytesIO(record[_TOKEN_BYTES:])))
        if self._dtype == "float32":
            image = image.astype(np.float32) / np.float32(255)
        tokens = np.frombuffer(record[:_TOKEN_BYTES], np.int32)
        return image, tokens, tokens != 0


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    # Records that are read in any order are compressed one by one.
    writer = ArrayRecordWriter(str(folder / "data.array_record"), "group_size:1")
    for row in corpus.rows():
        writer.write(row.tokens.astype("<i4").tobytes() + row.jpeg)
    writer.close()


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    batches, num = _batches(folder, task, dtype)
    yield from islice(batches, num)


@functools.cache
def _batches(folder: Path, task: str, dtype: str) -> tuple[Iterator[Any], int]:
    # Grain asks for flags of absl's, whose programs parse them first.
    flags.FLAGS(["grain"])
    source = grain.ArrayRecordDataSource(str(folder / "data.array_record"))
    sampler = grain.IndexSampler(len(source), shuffle=True, seed=0)
    loader = grain.DataLoader(
        data_source=source,
        sampler=sampler,
        operations=[Decode(task, dtype), grain.Batch(BATCH, drop_remainder=True)],
        worker_count=CORES,
    )
    return iter(loader), len(source) // BATCH
