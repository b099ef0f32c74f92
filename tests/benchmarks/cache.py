"""Hit rates of the bounded cache (docs/cache.md#a-bounded-cache).

    python tests/benchmarks/cache.py --json=cache.json

Three epochs of a plan, as a cache of 10, 25 and 50 % of the data sees them: one host, 8
ranks of one machine, and 4 of 16 hosts on one machine. The policies are Belady's rule
with what the plan knows, the least recently used block first, and pinning, which keeps
what came first. They are simulated by blocks over the windows of the real plan; with
`--real` the cache itself is filled, too, by one host at 25 %.
"""

import argparse
import heapq
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from reader.contract.record import frame_record
from reader.datasets.record_index import RecordIndex, ShardFile
from reader.range_cache import hits
from reader.range_cache.pieces import Piece
from reader.range_cache.range_cache import RangeCache
from reader.shuffle.next_uses import NEVER, ShuffledUses
from reader.shuffle.order import Blocks, ShuffledOrder
from reader.shuffle.shares import Share, Stretch

RECORDS, WINDOW_RECORDS, EPOCHS = 1_000_000, 13 * 192, 3
SHARES = (0.1, 0.25, 0.5)
# Hosts, and those of them on the machine.
SETTINGS = {
    "one host": (1, range(1)),
    "8 ranks of a machine": (8, range(8)),
    "4 of 16 hosts": (16, range(4)),
}
BATCH = 4096


class Wanted(NamedTuple):
    """Records of a block that one window needs."""

    clock: int
    block: int
    places: int  # A bit for each record.


def plan_of(num: int, hosts: int, seed: int = 0) -> tuple[ShuffledOrder, ShuffledUses]:
    blocks = Blocks(np.append(np.arange(0, num, 64), num))
    order = ShuffledOrder(blocks, seed, WINDOW_RECORDS // 192)
    share = Share(0, hosts, BATCH)
    return order, ShuffledUses(order, len(blocks.first) - 1, share, endless=False)


def windows_of(
    order: ShuffledOrder, hosts: int, mine: range, epoch: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the clock of each window and the numbers that a machine reads."""
    num = order.num_records
    stretch = Stretch(epoch, 0, num // BATCH * BATCH)
    ranks = [order.windows(stretch, Share(rank, hosts, BATCH)) for rank in mine]
    for windows in zip(*ranks, strict=True):
        clock = epoch * num + windows[0].number * order.window_records
        numbers = np.concatenate([window.cut().numbers for window in windows])
        yield clock, np.sort(numbers[numbers >= 0])


def wanted_in(clock: int, numbers: np.ndarray) -> list[Wanted]:
    blocks, places = np.divmod(numbers, 64)
    first = np.flatnonzero(np.diff(blocks, prepend=-1))
    bits = np.bitwise_or.reduceat(np.uint64(1) << places.astype(np.uint64), first)
    pairs = zip(blocks[first].tolist(), bits.tolist(), strict=True)
    return [Wanted(clock, block, bit) for block, bit in pairs]


class Simulated:
    """A cache that holds records of blocks, evicts whole blocks, and counts."""

    def __init__(self, policy: str, capacity: int, uses: ShuffledUses) -> None:
        self.policy, self.capacity, self.uses = policy, capacity, uses
        self.there: dict[int, int] = {}
        self.value: dict[int, int] = {}  # The largest is evicted first.
        self.heap: list[tuple[int, int]] = []
        self.taken = self.hits = self.total = 0

    def epoch(self, clock: int) -> None:
        """Plans anew what the epoch before did not know of, as the cache does."""
        unknown = [block for block, value in self.value.items() if value == NEVER]
        if unknown:
            uses = self.uses.after(np.array(unknown), clock - 1).tolist()
            for block, value in zip(unknown, uses, strict=True):
                self.set(block, value)

    def window(self, wanted: list[Wanted]) -> None:
        blocks = np.array([each.block for each in wanted])
        clock = wanted[0].clock
        after, again = itertools.repeat(0), itertools.repeat(0)
        if self.policy == "belady":
            after = self.uses.after(blocks, clock).tolist()
            again = self.uses.again(blocks, clock).tolist()
        for each, soon, later in zip(wanted, after, again, strict=False):
            self.total += each.places.bit_count()
            have = self.there.get(each.block, 0) & each.places
            self.hits += have.bit_count()
            if have:
                self.set(each.block, soon if self.policy == "belady" else -clock)
            if missing := each.places & ~have:
                value = {"belady": later, "lru": -clock, "pinning": 0}[self.policy]
                self.add(each.block, missing, value)

    def set(self, block: int, value: int) -> None:
        self.value[block] = value
        heapq.heappush(self.heap, (-value, block))

    def add(self, block: int, places: int, value: int) -> None:
        while self.taken + places.bit_count() > self.capacity:
            if self.policy == "pinning" or not self.heap:
                return
            latest, victim = self.heap[0]
            if self.value.get(victim) != -latest or victim not in self.there:
                heapq.heappop(self.heap)
            elif self.policy == "belady" and -latest <= value:
                return
            else:
                heapq.heappop(self.heap)
                self.taken -= self.there.pop(victim).bit_count()
        known = block in self.there
        self.there[block] = self.there.get(block, 0) | places
        self.taken += places.bit_count()
        if not known or self.value[block] == NEVER:
            self.set(block, value)


def simulate(name: str, num: int) -> list[dict[str, Any]]:
    hosts, mine = SETTINGS[name]
    results = []
    for share, policy in itertools.product(SHARES, ("belady", "lru", "pinning")):
        order, uses = plan_of(num, hosts)
        uses.read_by(mine)
        cache = Simulated(policy, int(share * num), uses)
        rates = []
        for epoch in range(EPOCHS):
            cache.hits = cache.total = 0
            cache.epoch(epoch * num)
            for clock, numbers in windows_of(order, hosts, mine, epoch):
                cache.window(wanted_in(clock, numbers))
            rates.append(round(cache.hits / cache.total, 4))
        result = {"setting": name, "share": share, "policy": policy, "hits": rates}
        print(json.dumps(result), flush=True)
        results.append(result)
    return results


def fill(num: int, share: float, record_bytes: int) -> dict[str, Any]:
    """Fills the cache itself, and takes the time of it."""
    header, footer = frame_record(bytes(record_bytes))
    record = header + bytes(record_bytes) + footer
    size = len(record)
    offsets = size * np.arange(num + 1)
    shard = ShardFile("s3://b/x", num, size * num, "0", lambda: offsets, None, True)
    index = RecordIndex([shard], offsets[:-1:64])
    order, uses = plan_of(num, 1)
    folder = tempfile.mkdtemp(dir="/var/tmp")
    cache = RangeCache(folder, int(share * size * num), index, uses, "benchmark")
    rates, seconds = [], 0.0
    try:
        for epoch in range(EPOCHS):
            before = hits.snapshot()
            for clock, numbers in windows_of(order, 1, range(1), epoch):
                first = np.flatnonzero(
                    (np.diff(numbers, prepend=-9) != 1) | (numbers % 64 == 0)
                )
                last = np.append(first[1:], len(numbers)) - 1
                pieces = [
                    Piece(0, begin * size, (end + 1) * size, begin // 64)
                    for begin, end in zip(
                        numbers[first].tolist(), numbers[last].tolist(), strict=True
                    )
                ]
                began = time.perf_counter()
                data = cache.load(pieces, clock)
                missing = [
                    piece
                    for piece, found in zip(pieces, data, strict=True)
                    if found is None
                ]
                fetched = [
                    record * ((piece.end - piece.begin) // size) for piece in missing
                ]
                cache.store(missing, fetched, clock)
                seconds += time.perf_counter() - began
            rates.append(round(hits.snapshot().share_since(before), 4))
    finally:
        cache.close()
        shutil.rmtree(folder)
    rate = EPOCHS * num * size / seconds / 1e6
    result = {"setting": "really, one host", "share": share, "policy": "belady"}
    return {**result, "hits": rates, "megabytes_per_second": round(rate)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--record-bytes", type=int, default=4000)
    parser.add_argument("--json")
    args = parser.parse_args()
    results = [each for name in SETTINGS for each in simulate(name, args.records)]
    if args.real:
        results.append(fill(args.records, 0.25, args.record_bytes))
        print(json.dumps(results[-1]))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
