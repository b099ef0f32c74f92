"""WebDataset: tars of the stored JPEGs, decoded with Pillow in a worker for each core.

Random crops are torchvision's, of Pillow's images.

A worker drops what makes no whole batch.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset as wds

from tests.benchmarks.reading.corpus import NUM_SHARDS, Corpus
from tests.benchmarks.reading.pixels import CORES, cast, with_pillow
from tests.benchmarks.reading.roster import BATCH


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    rows = list(corpus.rows())
    each = -(-len(rows) // NUM_SHARDS)
    with wds.ShardWriter(str(folder / "%05d.tar"), maxcount=each, verbose=0) as writer:
        for row in rows:
            writer.write({"__key__": row.key, "jpg": row.jpeg, "npy": row.tokens})


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    for image, tokens in _loader(folder, task):
        yield cast(image, dtype), tokens, tokens != 0


@functools.cache
def _loader(folder: Path, task: str) -> Any:
    cut = with_pillow(task)
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    data = (
        wds.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "npy")
        .map_tuple(functools.partial(_tensor, cut), torch.from_numpy)
        .batched(BATCH, partial=False)
    )
    return wds.WebLoader(
        data, batch_size=None, num_workers=CORES, persistent_workers=True
    )


def _tensor(cut: Callable[[Any], Any], image: Any) -> torch.Tensor:
    return torch.from_numpy(cut(image))
