"""Grain: an ArrayRecord file, decoded with Pillow in a worker for each core.

A record is int32[64] tokens and the stored JPEG after it: to take that apart costs
nothing. Batches come from one iterator without end, as Grain's users have it, which
starts its workers once.
"""

import functools
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grain.python as grain
import numpy as np
from absl import flags
from array_record.python.array_record_module import ArrayRecordWriter
from numpy.typing import NDArray

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.pixels import CORES, decode_center
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS

_TOKEN_BYTES = 4 * MAX_TOKENS


class Decode(grain.MapTransform):  # type: ignore[misc, unused-ignore]
    """From a record to what a batch is made of."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def map(self, record: bytes) -> tuple[NDArray[Any], ...]:
        image: NDArray[Any] = decode_center(record[_TOKEN_BYTES:])
        if self._dtype == "float32":
            image = image.astype(np.float32) / np.float32(255)
        tokens = np.frombuffer(record[:_TOKEN_BYTES], np.int32)
        return image, tokens, tokens != 0


def prepare(corpus: Corpus, folder: Path) -> None:
    # Records that are read in any order are compressed one by one.
    writer = ArrayRecordWriter(str(folder / "data.array_record"), "group_size:1")
    for row in corpus.rows():
        writer.write(row.tokens.astype("<i4").tobytes() + row.jpeg)
    writer.close()


def epoch(folder: Path, dtype: str) -> Iterator[Any]:
    batches, num = _batches(folder, dtype)
    yield from islice(batches, num)


@functools.cache
def _batches(folder: Path, dtype: str) -> tuple[Iterator[Any], int]:
    # Grain asks for flags of absl's, whose programs parse them first.
    flags.FLAGS(["grain"])
    source = grain.ArrayRecordDataSource(str(folder / "data.array_record"))
    sampler = grain.IndexSampler(len(source), shuffle=True, seed=0)
    loader = grain.DataLoader(
        data_source=source,
        sampler=sampler,
        operations=[Decode(dtype), grain.Batch(BATCH, drop_remainder=True)],
        worker_count=CORES,
    )
    return iter(loader), len(source) // BATCH
