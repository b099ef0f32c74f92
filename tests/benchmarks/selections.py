"""What reading a selection costs (docs/performance-notes.md#selections).

    python tests/benchmarks/selections.py
    python tests/benchmarks/selections.py --pattern='out/train-*.tfrecord'

- plans over selections of 10⁸ and 10⁹ records (`--records`), each in a process of its
  own: opening, the first window, record numbers per second, and memory;
- with `--pattern`, bytes read of a dataset by share kept, as the kernel counts them.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHARD_RECORDS = 10_000
RECORD_BYTES = 25_000
KEPT = (1.0, 0.9, 0.5, 0.1, 0.01)


def megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def plan(num: int, kind: str) -> None:
    """Opens a plan, and prints what it took."""
    from reader.contract.additions.selection import WEIGHT_ONE
    from reader.shuffle.order import Blocks, ShuffledOrder
    from reader.shuffle.shares import Share, Stretch
    from reader.shuffle.subset import Chosen

    num_blocks = num // SHARD_RECORDS * -(-SHARD_RECORDS // 64)
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, num_blocks, np.uint64)  # About a half.
    tail = np.uint64((1 << SHARD_RECORDS % 64) - 1)
    words[-(-SHARD_RECORDS // 64) - 1 :: -(-SHARD_RECORDS // 64)] &= tail
    weights = None
    if kind == "weights":
        weights = rng.integers(0, 2 * WEIGHT_ONE, num, np.uint16)
    before, began = megabytes(), time.perf_counter()
    shard, block = np.divmod(np.arange(num_blocks), -(-SHARD_RECORDS // 64))
    base = Blocks(np.append(shard * SHARD_RECORDS + 64 * block, num))
    del shard, block
    subset = Chosen(words, weights).subset(base, 0)
    opened = time.perf_counter() - began
    order = ShuffledOrder(subset, 0, 13)
    windows = order.windows(Stretch(0, 0, subset.num_records), Share())
    window = next(windows).cut()
    subset.records(window.numbers, window.epochs)
    first = time.perf_counter() - began
    print(
        f"{num:>13,} {kind:<8} opened {opened:5.2f} s, first window {first:5.2f} s, "
        f"{megabytes() - before:,} MiB",
        end="",
    )
    began, count = time.perf_counter(), 0
    for window, _ in zip(windows, range(40), strict=False):
        numbers, _ = subset.records(window.numbers, window.epochs)
        count += len(numbers)
    rate = count / (time.perf_counter() - began) / 1e6
    print(f", then {rate:.1f} million numbers/s", flush=True)


def bytes_read(pattern: str) -> None:
    """Prints bytes read by share kept, of records of different lengths."""
    import reader
    from reader.datasets.open_sources import open_one_record_source
    from reader.datasets.samples_table import read_samples

    source = open_one_record_source(pattern, None, None)
    lengths = read_samples(source)["length"].to_numpy()
    keys = np.sort(read_samples(source)["sha256"].to_numpy())
    print("\n| kept | records | bytes of these | bytes read | |\n|---|---|---|---|---|")
    for share in KEPT:
        last = keys[min(len(keys) - 1, round(share * len(keys)) - 1)]
        where = f"sha256 <= '{last}'"
        batches = reader.stream(
            pattern, batch_size=16, outputs=("image", "key"), image_size=224,
            where=where, workers=0, remainder="pad", prefetch=0,
        )  # fmt: skip
        wanted = reader.open(pattern, where=where).samples["length"].to_numpy()
        next(iter(batches))
        before = counted()
        for _ in batches:
            pass
        read = counted() - before
        print(
            f"| {share:.0%} | {len(wanted):,} | {wanted.sum():,} | {read:,} | "
            f"{read / wanted.sum():.3f} |"
        )
    print(f"(of {len(lengths):,} records, {lengths.sum():,} bytes)")


def counted() -> int:
    """Bytes that this process has read, as the kernel counts them."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise SystemExit("the kernel does not count here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", help="a dataset to count bytes of")
    parser.add_argument("--records", type=int, nargs="*", default=[10**8, 10**9])
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan:
        plan(int(args.plan[0]), args.plan[1])
        return
    for num in args.records:
        for kind in ("bits", "weights"):
            command = [sys.executable, __file__, "--plan", str(num), kind]
            subprocess.run(command, check=True)
    if args.pattern:
        bytes_read(args.pattern)


if __name__ == "__main__":
    main()
