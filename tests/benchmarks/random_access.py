"""`reader.open` under PyTorch's DataLoader, against WebDataset and MosaicML Streaming.

    python tests/benchmarks/random_access.py --dataset=out

Needs torch and Pillow, and for the others `pip install webdataset mosaicml-streaming`;
what is not installed is left out and named. Needs no TensorFlow.

All read the very same JPEG bytes and rows of 64 tokens, built once from the dataset:
tar shards, MDS shards, and the dataset itself. Each is shuffled in its usual way and
decodes in its usual way (simplejpeg; Pillow for the others), and then the same function
cuts the middle 224 pixels of the array, padding what is smaller. Epochs run in turn, in
a random order; printed are medians of images a second, of wall time (starting and
ending the workers included) and of CPU time (user and system, workers included).
"""

import argparse
import importlib.util
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from reader.contract.record import parse_example
from reader.datasets.open_sources import open_one_record_source
from reader.map_dataset.open_dataset import open as open_dataset
from reader.storage.tfrecord_file import read_shard

BATCH, SIZE, MAX_TOKENS = 64, 224, 64

Row = tuple[str, bytes, np.ndarray]


def rows(dataset: str) -> Iterator[Row]:
    """Yields key, JPEG bytes and int32[64] tokens of all records."""
    tokens = open_dataset(dataset, outputs=("tokens",))
    shards = open_one_record_source(dataset, None, None).shards
    records = (record for shard in shards for record in read_shard(shard.path))
    for number, record in enumerate(records):
        (jpeg,) = parse_example(record.data)["image/encoded"]
        yield f"{number:08}", jpeg, tokens[number][0]


def center(pixels: np.ndarray) -> torch.Tensor:
    """Returns uint8[3, 224, 224]: the middle of a picture, with black around it."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - SIZE) // 2), max(0, (width - SIZE) // 2)
    cut = pixels[top : top + SIZE, left : left + SIZE]
    if cut.shape != (SIZE, SIZE, 3):
        whole = np.zeros((SIZE, SIZE, 3), np.uint8)
        whole[: cut.shape[0], : cut.shape[1]] = cut
        cut = whole
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1)))


# Each returns a loader of batches of (uint8[64, 3, 224, 224], int32[64, 64]).


def of_ours(dataset: str, workers: int) -> DataLoader:
    data = open_dataset(dataset, outputs=("image", "tokens"), transform=_ours)
    return DataLoader(data, BATCH, shuffle=True, num_workers=workers)


def _ours(row: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, np.ndarray]:
    return center(row[0]), row[1]


def of_webdataset(folder: Path, workers: int, decoder: Any = "rgb8") -> DataLoader:
    import webdataset

    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    data = (
        webdataset.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(1000)
        .decode(decoder)
        .to_tuple("jpg", "npy")
        .map_tuple(center, torch.from_numpy)
        .batched(BATCH)
    )
    return webdataset.WebLoader(data, batch_size=None, num_workers=workers)


def of_webdataset_faster(folder: Path, workers: int) -> DataLoader:
    """The same with our decoder: what is left is reading, and the work in Python."""
    import simplejpeg
    import webdataset

    decoder = webdataset.handle_extension("jpg", simplejpeg.decode_jpeg)
    return of_webdataset(folder, workers, decoder)


def write_webdataset(dataset: str, folder: Path) -> None:
    import webdataset

    pattern = str(folder / "%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=185, verbose=0) as writer:
        for key, jpeg, tokens in rows(dataset):
            writer.write({"__key__": key, "jpg": jpeg, "npy": tokens})


def of_streaming(folder: Path, workers: int) -> DataLoader:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    class Pictures(StreamingDataset):
        def __getitem__(self, number: int) -> Any:
            sample = super().__getitem__(number)
            pixels = np.asarray(sample["image"].convert("RGB"))
            return center(pixels), sample["tokens"].copy()  # Its own is read-only.

    clean_stale_shared_memory()
    data = Pictures(local=str(folder), shuffle=True, batch_size=BATCH)
    return DataLoader(data, BATCH, num_workers=workers)


def write_streaming(dataset: str, folder: Path) -> None:
    from PIL import Image
    from streaming import MDSWriter

    columns = {"image": "jpeg", "tokens": f"ndarray:int32:{MAX_TOKENS}"}
    scratch = folder.with_suffix(".jpg")
    with MDSWriter(out=str(folder), columns=columns, size_limit=5 << 20) as writer:
        for _, jpeg, tokens in rows(dataset):
            scratch.write_bytes(jpeg)  # Its bytes are kept of a picture with a file.
            writer.write({"image": Image.open(scratch), "tokens": tokens})


Load = Callable[[Path, int], Any]
PEERS: dict[str, tuple[Callable[[str, Path], None], dict[str, Load]]] = {
    "webdataset": (
        write_webdataset,
        {
            "WebDataset": of_webdataset,
            "  with simplejpeg": of_webdataset_faster,
        },
    ),
    "streaming": (write_streaming, {"MosaicML Streaming": of_streaming}),
}


def cpu_seconds() -> float:
    """Returns user and system time of this process and of all that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def epoch(loader: Any) -> tuple[int, float, float]:
    """Reads all batches; returns images, wall seconds and CPU seconds."""
    began, cpu_began, num = time.perf_counter(), cpu_seconds(), 0
    batches = iter(loader)
    for images, tokens in batches:
        assert images.shape[1:] == (3, SIZE, SIZE) and images.dtype == torch.uint8
        assert tokens.shape == (len(images), MAX_TOKENS)
        num += len(images)
    del batches  # Ends the workers, so that their time is counted.
    return num, time.perf_counter() - began, cpu_seconds() - cpu_began


def compare(loaders: dict[str, Any], repeats: int) -> None:
    for loader in loaders.values():
        epoch(loader)
    runs: dict[str, list[tuple[int, float, float]]] = {name: [] for name in loaders}
    for _ in range(repeats):
        for name in random.sample(list(loaders), len(loaders)):
            runs[name].append(epoch(loaders[name]))
    print(f"{'':<22}{'images':>8}{'images/s':>10}{'images/CPU-s':>14}   runs, images/s")
    for name, of in runs.items():
        wall, cpu = [n / s for n, s, _ in of], [n / c for n, _, c in of]
        medians = f"{statistics.median(wall):>10.0f}{statistics.median(cpu):>14.0f}"
        each = " ".join(f"{rate:.0f}" for rate in wall)
        print(f"{name:<22}{of[0][0]:>8}{medians}   {each}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True, help="a folder of one split")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        loaders: dict[str, Any] = {"reader.open": of_ours(args.dataset, args.workers)}
        for package, (write, peers) in PEERS.items():
            if importlib.util.find_spec(package) is None:
                print(f"{package} is not installed, so left out: {', '.join(peers)}")
                continue
            folder = Path(scratch) / package
            folder.mkdir()
            write(args.dataset, folder)
            loaders |= {
                name: load(folder, args.workers) for name, load in peers.items()
            }
        print(json.dumps(vars(args) | {"torch": torch.__version__}))
        compare(loaders, args.repeats)


if __name__ == "__main__":
    main()
