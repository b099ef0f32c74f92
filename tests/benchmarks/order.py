"""What the planned order costs (docs/performance-notes.md#the-planned-order).

    python tests/benchmarks/order.py --pattern='out/train-*.tfrecord'

Variants of one question run in turn, several times over; printed are medians.

- streaming: the planned order, the same where TensorFlow may hand on results as they
  come, and the usual pipeline: files interleaved, a shuffle buffer of as many bytes;
- starting: the first batch of a run, and of one that resumes at the last step;
- a plan of 10⁸ records on 10⁴ shards: opening it, and its first window;
- memory: of the process after each of some epochs.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

BATCH = 64


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def compare(title: str, variants: dict[str, Callable[[], int]], repeats: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            began, cpu_began = time.perf_counter(), cpu_seconds()
            num = variant()
            wall[name].append(num / (time.perf_counter() - began))
            cpu[name].append(num / (cpu_seconds() - cpu_began))
    print(f"\n{title}\n{'':<34}{'images/s':>10}{'images/CPU-s':>14}")
    for name in variants:
        rates = [statistics.median(rates[name]) for rates in (wall, cpu)]
        print(f"{name:<34}{rates[0]:>10.0f}{rates[1]:>14.0f}", flush=True)


def one_epoch(batches) -> Callable[[], int]:
    def run() -> int:
        return sum(int(batch["image"].shape[0]) for batch in batches)

    run()  # Traces and warms up.
    return run


def planned(pattern: str, **settings):
    import reader

    return reader.load(pattern, batch_size=BATCH, image_size=224, **settings)


def in_any_order(pattern: str):
    """The planned order of reading, and results as they come from then on."""
    import tensorflow as tf

    originals = {name: getattr(tf.data.Dataset, name) for name in ("map", "batch")}

    def loosely(method):
        def call(*args, **settings):
            if settings.get("deterministic"):
                settings["deterministic"] = False
            return method(*args, **settings)

        return call

    for name, method in originals.items():
        setattr(tf.data.Dataset, name, loosely(method))
    try:
        return planned(pattern)
    finally:
        for name, method in originals.items():
            setattr(tf.data.Dataset, name, method)


def usual(pattern: str, window: int):
    """The same examples and batches, of records in the usual order."""
    import tensorflow as tf

    from reader.config.image_config import ImageConfig
    from reader.config.read_config import ReadConfig
    from reader.datasets.open_sources import open_one_record_source
    from reader.loader.batches import decode, deliver, pixel_workers
    from reader.loader.compressed import read_compressed
    from reader.records.window_reads import Records
    from reader.streaming.budget import chunk_size

    source = open_one_record_source(pattern, None, None)
    config = ReadConfig(batch_size=BATCH, images=ImageConfig(size=(224, 224)))
    yes = tf.ones([BATCH], tf.bool)
    paths = [shard.path for shard in source.shards]
    records = read_compressed(paths, "", seed=0, window=window)
    nothing = tf.zeros([chunk_size(BATCH), 0], tf.float64)
    chunks = records.batch(chunk_size(BATCH)).map(
        lambda some: Records(some, yes, ~yes, nothing)
    )
    workers = pixel_workers(source.record_schema, config)
    batches = decode(chunks, source.record_schema, config, workers)
    batches = deliver(batches, config, None)
    batches.pixel_workers = workers
    return batches


def first_batch(pattern: str, **settings) -> Callable[[], int]:
    def run() -> int:
        next(iter(planned(pattern, **settings)))
        return 1

    return run


def plan_of_1e8() -> None:
    from reader.datasets.record_index import RecordIndex, ShardFile
    from reader.shuffle.order import ShuffledOrder
    from reader.shuffle.shares import Share, Stretch

    num_shards, each = 10_000, 10_000
    offsets = np.tile(np.arange(0, each, 64) * 25_000, num_shards)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    shards = [
        ShardFile(f"out/train-{i:05}-of-10000.tfrecord", each, each * 25_000, "", list)
        for i in range(num_shards)
    ]
    index = RecordIndex(shards, offsets)
    order = ShuffledOrder(index.blocks, 0, 13)
    window = next(order.windows(Stretch(0, 0, 10**8), Share()))
    index.reads(window.cut().numbers)
    took = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(
        f"\n10⁸ records on 10⁴ shards: {took:.2f} s, {grown} MiB, first window read up"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pattern", required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=30, help="to watch memory over")
    args = parser.parse_args()
    plan_of_1e8()
    import reader

    compare(
        "streaming: 256 stored, 224 asked for, float32",
        {
            "planned order": one_epoch(planned(args.pattern)),
            "  results in any order": one_epoch(in_any_order(args.pattern)),
            "  shuffle=False": one_epoch(planned(args.pattern, shuffle=False)),
            "  bucket_by_length": one_epoch(
                planned(args.pattern, bucket_by_length=True)
            ),
            "interleave and shuffle buffer": one_epoch(usual(args.pattern, 2500)),
        },
        args.repeats,
    )
    last = reader.steps_per_epoch(args.pattern, batch_size=BATCH) - 1
    compare(
        "the first batch, from load on (1 / seconds)",
        {
            "at the start": first_batch(args.pattern),
            "at an epoch's last step": first_batch(args.pattern, start_step=last),
            "  of the tenth epoch": first_batch(
                args.pattern, epochs=None, start_step=9 * (last + 1) + last
            ),
        },
        args.repeats,
    )
    run = one_epoch(planned(args.pattern))
    print("\nmemory of the process, MiB, after each of some epochs")
    for epoch in range(args.epochs):
        run()
        if epoch % 5 == 4:
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            print(f"{epoch + 1:>4}{pages * 4096 >> 20:>8}", flush=True)


if __name__ == "__main__":
    main()
