"""Plans over records that are in memory, read through a bounded cache.

`python cached_plans.py FOLDER MAX_BYTES SEED HOST HOSTS` reads without an end, and is
killed.
"""

import bisect
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from reader.contract.record import frame_record
from reader.datasets.record_index import RecordIndex, ShardFile
from reader.range_cache import hits
from reader.range_cache.pieces import Piece
from reader.range_cache.range_cache import RangeCache
from reader.shuffle.next_uses import ShuffledUses
from reader.shuffle.order import ShuffledOrder
from reader.shuffle.shares import Share, Stretch

NUM_STREAMS, ROUNDS = 24, 4


class Records:
    """Records of several shards, which nobody but this process has.

    Attributes:
        index: Their index.
        num_bytes: Size of all shards.
    """

    def __init__(
        self, counts: tuple[int, ...] = (1500, 850, 850), name: str = "a"
    ) -> None:
        rng = np.random.default_rng(ord(name))
        self._shards, files, offsets = [], [], []
        for number, count in enumerate(counts):
            sizes = rng.integers(4000, 18_000, count).tolist()
            records = [b"".join(_framed(rng.bytes(size))) for size in sizes]
            self._shards.append(memoryview(b"".join(records)))
            ends = np.cumsum([0, *map(len, records)])
            files.append(
                ShardFile(
                    f"s3://bucket/{name}-{number}",
                    count,
                    int(ends[-1]),
                    f"{name}{number}",
                    lambda ends=ends: ends,
                    has_manifest=True,
                )
            )
            offsets.append(ends[:-1:64])
        self.index = RecordIndex(files, np.concatenate(offsets))
        self.num_bytes = sum(map(len, self._shards))

    def fetch(self, piece: Piece) -> memoryview:
        return self._shards[piece.file][piece.begin : piece.end]

    def pieces(self, numbers: np.ndarray) -> list[Piece]:
        """Returns the pieces of a window, for each record by itself: a plain loop."""
        pieces: list[Piece] = []
        numbers = np.sort(numbers[numbers >= 0])
        first = self.index.blocks.first
        for number, shard, begin, end in self.index.places(numbers).tolist():
            block = bisect.bisect_right(first, number) - 1
            last = pieces[-1] if pieces else None
            if last and last[2:4] == (begin, block) and last.file == shard:
                pieces[-1] = last._replace(end=end)
            else:
                pieces.append(Piece(shard, begin, end, block))
        return pieces


def _framed(data: bytes) -> tuple[bytes, bytes, bytes]:
    header, footer = frame_record(data)
    return header, data, footer


class Reader:
    """A host that reads epochs of records through a cache.

    Attributes:
        cache: The cache.
        fetched: Bytes that were not in the cache.
    """

    def __init__(
        self,
        records: Records,
        folder: str | Path,
        max_bytes: int,
        *,
        seed: int = 0,
        host: int = 0,
        hosts: int = 1,
        planned: bool = True,
    ) -> None:
        self.records, self.fetched = records, 0
        self._share = Share(host, hosts, 8 * hosts)
        blocks = records.index.blocks
        self._order = ShuffledOrder(blocks, seed, ROUNDS, NUM_STREAMS)
        num_blocks = len(blocks.first) - 1
        uses = ShuffledUses(self._order, num_blocks, self._share, endless=False)
        self.cache = RangeCache(
            str(folder),
            max_bytes,
            records.index,
            uses if planned else None,
            f"{seed} {hosts}",
        )
        self._windows: dict[int, list[tuple[int, list[Piece]]]] = {}

    def windows(self, epoch: int) -> Iterator[tuple[int, list[Piece]]]:
        size, num = self._share.batch_size, self._order.num_records
        stretch = Stretch(epoch, 0, num // size * size)
        for window in self._order.windows(stretch, self._share):
            clock = epoch * num + window.number * self._order.window_records
            yield clock, self.records.pieces(window.cut().numbers)

    def read(self, epoch: int, step: Callable[[], None] = lambda: None) -> float | None:
        """Reads an epoch, and checks every byte. Returns the share of hits."""
        before = hits.snapshot()
        for clock, pieces in self.windows(epoch):
            self.window(clock, pieces)
            step()
        return hits.snapshot().share_since(before)

    def window(self, clock: int, pieces: list[Piece]) -> None:
        data = self.cache.load(pieces, clock)
        missing = []
        for piece, found in zip(pieces, data, strict=True):
            if found is None:
                missing.append(piece)
            else:
                assert found == self.records.fetch(piece)
        fetched = [self.records.fetch(piece) for piece in missing]
        self.fetched += sum(map(len, fetched))
        self.cache.store(missing, fetched, clock)


def space_of(folder: Path) -> int:
    """Returns what `du` finds: the space of all files and folders on the disk."""
    space = 0
    for root, _, files in os.walk(folder):
        for name in (root, *(os.path.join(root, file) for file in files)):
            with contextlib.suppress(FileNotFoundError):  # Evicted meanwhile.
                space += os.lstat(name).st_blocks * 512
    return space


if __name__ == "__main__":
    where, size, *numbers = sys.argv[1:]
    own_seed, own_host, num_hosts = map(int, numbers)
    reading = Reader(
        Records(), where, int(size), seed=own_seed, host=own_host, hosts=num_hosts
    )
    print("reading", flush=True)
    for number in range(1000):
        reading.read(number)
