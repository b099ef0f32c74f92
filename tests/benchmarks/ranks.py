"""What a rank reads of its shards (docs/performance-notes.md#many-hosts).

    python -m tests.benchmarks.ranks

A million records of 10 to 35 kB on shards of 5,000; nothing is read. For each number of
ranks: streams that a rank reads, the size of a request if each run of neighbors is one,
bytes read per byte wanted and the size of a request if gaps of up to 64 KiB are read
over, and the CPU time of planning.
"""

import time
from collections.abc import Iterator

import numpy as np

from reader.datasets.record_index import RecordIndex, ShardFile
from reader.shuffle.order import ShuffledOrder, Window
from reader.shuffle.shares import Share, Stretch

NUM, SHARD = 1_000_000, 5_000
GAP = 64 << 10
# Ranks, examples per batch, streams, MiB of the window.
CASES = [
    (1, 256, 192, 64),
    (5, 1_280, 192, 64),
    (8, 2_048, 192, 64),
    (40, 1_280, 192, 64),
    (128, 4_096, 192, 64),
    (128, 4_096, 1_536, 512),
    (512, 16_384, 192, 64),
    (512, 16_384, 1_536, 512),
    (1_024, 32_768, 192, 64),
    (1_024, 32_768, 1_536, 512),
]


def index_of(lengths: np.ndarray) -> RecordIndex:
    """Returns the index of records of these lengths."""
    shards, blocks = [], []
    for begin in range(0, NUM, SHARD):
        offsets = np.concatenate([[0], np.cumsum(lengths[begin : begin + SHARD])])
        blocks.append(offsets[:-1:64])
        name = f"train-{begin // SHARD:05}-of-{NUM // SHARD:05}.tfrecord"
        shards.append(
            ShardFile(
                name, SHARD, int(offsets[-1]), "", lambda offsets=offsets: offsets
            )
        )
    return RecordIndex(shards, np.concatenate(blocks))


def fetches(windows: Iterator[Window], fewest: int) -> Iterator[np.ndarray]:
    """Yields the numbers of records that are read at a time."""
    held: list[np.ndarray] = []
    for window in windows:
        held.append(window.cut().numbers)
        if sum(map(len, held)) >= fewest:
            yield np.concatenate(held)
            held = []


def requests(places: np.ndarray, gap: int) -> tuple[int, int]:
    """Returns the number and the bytes of requests that read over gaps."""
    in_order = places[np.lexsort((places[:, 2], places[:, 1]))]
    shard, begin, end = in_order[:, 1], in_order[:, 2], in_order[:, 3]
    apart = (shard[1:] != shard[:-1]) | (begin[1:] - end[:-1] > gap)
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.append(first[1:], len(shard)) - 1
    return len(first), int((end[last] - begin[first]).sum())


def main() -> None:
    lengths = np.random.default_rng(0).integers(10_000, 35_001, NUM)
    index = index_of(lengths)
    head = "ranks", "batch", "streams", "MiB", "of them", "kB", "×", "kB", "µs"
    print("".join(f"{word:>9}" for word in head))
    for ranks, batch, streams, mebibytes in CASES:
        rounds = max(1, (mebibytes << 20) // int(lengths.mean()) // streams)
        order = ShuffledOrder(index.blocks, 0, rounds, streams)
        share, stretch = Share(ranks // 2, ranks, batch), Stretch(0, 0, NUM)
        stretch = stretch._replace(stop=NUM // batch * batch)
        order.epoch(0)
        begin = time.process_time()
        planned = []
        for numbers in fetches(order.windows(stretch, share), 64):
            planned.append(numbers)
            if sum(map(len, planned)) > 4 * batch // ranks + 500:
                break
        seconds = time.process_time() - begin
        num = sum(map(len, planned))
        positions = share.positions(stretch, 0, 4 * batch, streams)
        used = len(np.unique(positions % streams))
        exact, over, own, read = [], [], 0, 0
        for numbers in planned:
            places = index.places(numbers)
            mine = int((places[:, 3] - places[:, 2]).sum())
            exact.append(mine / requests(places, 0)[0])
            count, num_bytes = requests(places, GAP)
            over.append(num_bytes / count)
            own, read = own + mine, read + num_bytes
        row = (
            *(ranks, batch, streams, mebibytes, used),
            f"{np.mean(exact) / 1e3:.0f}",
            f"{read / own:.2f}",
            f"{np.mean(over) / 1e3:.0f}",
            f"{1e6 * seconds / num:.1f}",
        )
        print("".join(f"{value:>9}" for value in row), flush=True)


if __name__ == "__main__":
    main()
