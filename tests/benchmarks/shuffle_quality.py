"""Compares the order with a full permutation (docs/performance-notes.md#shuffling).

    python tests/benchmarks/shuffle_quality.py
    python tests/benchmarks/shuffle_quality.py --batches

Records are numbered as written. Sorted input is the worst case: the number is what a
model would learn from (a class, a date, a folder). For shards of ours the numbers were
shuffled once already, by the hash of their keys. Nothing is read: the plan alone gives
the orders; that of `tf.data`'s interleave and buffer is simulated step by step.
"""

import argparse
import random

import numpy as np

from reader.shuffle.order import Blocks, ShuffledOrder
from reader.shuffle.shares import Share, Stretch


def planned(num: int, shard: int, streams: int, window: int, epoch: int) -> np.ndarray:
    """Returns the order of an epoch, as numbers of records."""
    starts = np.arange(0, num, shard)
    first = np.concatenate([np.arange(s, min(s + shard, num), 64) for s in starts])
    blocks = Blocks(np.append(first, num))
    order = ShuffledOrder(blocks, 0, max(1, window // streams), streams)
    windows = order.windows(Stretch(epoch, 0, num), Share())
    return np.concatenate([window.cut().numbers for window in windows])


def buffered(num: int, shard: int, window: int, epoch: int) -> np.ndarray:
    """Returns what 16 shuffled files, 16 records in turn, and a buffer give."""
    rng = random.Random(epoch)
    files = [iter(range(s, min(s + shard, num))) for s in range(0, num, shard)]
    rng.shuffle(files)
    open_files, waiting = files[:16], files[16:]
    buffer: list[int] = []
    order: list[int] = []

    def push(number: int) -> None:
        buffer.append(number)
        if len(buffer) > window:
            place = rng.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            order.append(buffer.pop())

    while open_files:
        for file in list(open_files):
            taken = [number for _, number in zip(range(16), file, strict=False)]
            for number in taken:
                push(number)
            if len(taken) < 16:
                open_files.remove(file)
                open_files += waiting[:1]
                del waiting[:1]
    rng.shuffle(buffer)
    return np.array(order + buffer)


def statistics(order: np.ndarray, batch: int) -> tuple[float, ...]:
    """Returns rank correlation, neighbour distance, same-batch share, batch means.

    All but the first are ratios to what a full permutation gives on average, so 1 is
    what is hoped for: the median distance of neighbours as written (0.293 of all
    records); the share of them that meet in one batch; the variance of batches' mean
    numbers.
    """
    num = len(order)
    place = np.empty(num, np.int64)
    place[order] = np.arange(num)
    correlation = float(np.corrcoef(order, np.arange(num))[0, 1])
    distance = float(np.median(np.abs(np.diff(place))) / ((1 - 0.5**0.5) * num))
    together = float(np.mean(np.diff(place // batch) == 0) / ((batch - 1) / (num - 1)))
    means = order[: num // batch * batch].reshape(-1, batch).mean(axis=1)
    expected = np.var(order) / batch * (1 - batch / num)
    return correlation, distance, together, float(np.var(means) / expected)


def streams_and_batches(num: int, shard: int, epochs: int) -> None:
    """Prints the variance of batch means for numbers of streams, windows and batches.

    Windows are those of records of 22.5 kB. The number of hosts does not matter.
    """
    batches = (256, 1024, 4096, 16384)
    print(f"\n{num:,} records, sorted input: batch means of batches of {batches}")
    for streams in (192, 768, 1536, 3072, 6144):
        for mebibytes in (64, 512, 1024):
            window = (mebibytes << 20) // 22_500
            orders = [planned(num, shard, streams, window, e) for e in range(epochs)]
            means = [
                np.mean([statistics(order, batch)[3] for order in orders])
                for batch in batches
            ]
            row = "".join(f"{mean:>9.2f}" for mean in means)
            print(f"{streams:>6} streams, {mebibytes:>5} MiB{row}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--num", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=5_000)
    parser.add_argument("--window", type=int, default=2_500, help="records held")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batches", action="store_true", help="streams by batch size")
    args = parser.parse_args()
    if args.batches:
        return streams_and_batches(1_000_000, args.shard, 3)
    num, shard, window = args.num, args.shard, args.window
    rng = np.random.default_rng(0)
    orders = {
        "full permutation": lambda epoch: rng.permutation(num),
        "interleave and buffer": lambda epoch: buffered(num, shard, window, epoch),
    } | {
        f"{streams} streams": lambda epoch, s=streams: planned(
            num, shard, s, window, epoch
        )
        for streams in (24, 48, 96, 192, 384)
    }
    written = rng.permutation(num)
    heads = ("correlation", "distance", "together", "batch means")
    for title, numbers in (("sorted input", None), ("shards of ours", written)):
        print(f"\n{title:<24}" + "".join(f"{head:>13}" for head in heads))
        for name, make in orders.items():
            rows = []
            for epoch in range(args.epochs):
                order = make(epoch)
                rows.append(
                    statistics(order if numbers is None else numbers[order], args.batch)
                )
            absolute = np.abs(np.array(rows)).mean(axis=0)
            print(f"{name:<24}" + "".join(f"{value:>13.4f}" for value in absolute))


if __name__ == "__main__":
    main()
