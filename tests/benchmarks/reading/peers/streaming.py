"""MosaicML Streaming: MDS shards of the stored JPEGs, in a worker for each core.

Pillow decodes; random crops are torchvision's, of Pillow's images.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.pixels import CORES, cast, with_pillow
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS


class Pictures(StreamingDataset):  # type: ignore[misc, unused-ignore]
    """Gives uint8[224, 224, 3] and int32[64]."""

    def __init__(self, task: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._cut = with_pillow(task)

    def __getitem__(self, number: Any) -> Any:
        sample = super().__getitem__(number)
        return self._cut(sample["image"]), sample["tokens"].copy()  # It is read-only.


def prepare(corpus: Corpus, folder: Path, stored: str) -> None:
    columns = {"image": "jpeg", "tokens": f"ndarray:int32:{MAX_TOKENS}"}
    scratch = folder / "picture.jpg"
    with MDSWriter(out=str(folder / "mds"), columns=columns) as writer:
        for row in corpus.rows():
            scratch.write_bytes(row.jpeg)  # It keeps the bytes of a picture on disk.
            with Image.open(scratch) as image:
                writer.write({"image": image, "tokens": row.tokens})


def epoch(folder: Path, task: str, dtype: str) -> Iterator[Any]:
    for image, tokens in _loader(folder, task):
        yield cast(image, dtype), tokens, tokens != 0


@functools.cache
def _loader(folder: Path, task: str) -> Any:
    clean_stale_shared_memory()
    data = Pictures(task, local=str(folder / "mds"), shuffle=True, batch_size=BATCH)
    return DataLoader(
        data, BATCH, num_workers=CORES, drop_last=True, persistent_workers=True
    )
