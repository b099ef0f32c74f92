"""WebDataset: tars of the stored JPEGs, decoded with Pillow in a worker for each core.

A worker drops what makes no whole batch.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset as wds

from tests.benchmarks.reading.corpus import NUM_SHARDS, Corpus
from tests.benchmarks.reading.pixels import CORES, cast, center_of
from tests.benchmarks.reading.roster import BATCH


def prepare(corpus: Corpus, folder: Path) -> None:
    rows = list(corpus.rows())
    each = -(-len(rows) // NUM_SHARDS)
    with wds.ShardWriter(str(folder / "%05d.tar"), maxcount=each, verbose=0) as writer:
        for row in rows:
            writer.write({"__key__": row.key, "jpg": row.jpeg, "npy": row.tokens})


def epoch(folder: Path, dtype: str) -> Iterator[Any]:
    for image, tokens in _loader(folder):
        yield cast(image, dtype), tokens, tokens != 0


@functools.cache
def _loader(folder: Path) -> Any:
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    data = (
        wds.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "npy")
        .map_tuple(_tensor, torch.from_numpy)
        .batched(BATCH, partial=False)
    )
    return wds.WebLoader(
        data, batch_size=None, num_workers=CORES, persistent_workers=True
    )


def _tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(center_of(image))
