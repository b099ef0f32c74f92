"""Packs of entries, which group many entries into one element of the pipeline.

An engine spends as much time on one element as this code spends on ten entries.
"""

import pickle
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.elements import Aside, Entry, SourceFile
from beam_jobs.planning.key_order import key_range_of, order_of
from beam_jobs.workspace.array_file import ArrayWriter

# Large enough to amortize the cost of an element, small enough to bound memory.
_PACK_ENTRIES = 100_000

# Number of the key range that carries the counts of files without a key.
_COUNTS_KEY_RANGE = 0


@dataclass
class Pack:
    """Entries of one key range, and counts of files without a key.

    Attributes:
        entries: Entries of the keys in the key range.
        ignored: Number of files that are neither image nor caption, as `{kind: files}`.
        loops: Paths of links that point to one of their parent folders.
    """

    entries: list[Entry] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    loops: list[bytes] = field(default_factory=list)

    def add(self, aside: Aside) -> None:
        """Counts a file or a link that belongs to no key."""
        if aside.kind == "loop":
            self.loops.append(aside.path)
        else:
            self.ignored[aside.counted_as] += 1


def pack(
    found: Iterable[Entry | Aside], seed: int, spill: ArrayWriter
) -> Iterator[tuple[int, bytes]]:
    """Yields (key range, packed bytes) of a source's entries.

    Args:
        found: Entries, and files without a key.
        seed: Seed of the order of records.
        spill: Writer that long arrays are moved to.
    """
    packs: dict[int, Pack] = {}
    counts = Pack()
    num_entries = 0
    for one in found:
        if isinstance(one, Aside):
            counts.add(one)
            continue
        key_range = key_range_of(order_of(one.key, seed))
        if one.values:
            one = one._replace(values=tuple(map(spill.put, one.values)))
        packs.setdefault(key_range, Pack()).entries.append(one)
        num_entries += 1
        if num_entries % _PACK_ENTRIES == 0:
            yield from _packed(packs)
            packs = {}
    yield from _packed(packs)
    if counts.ignored or counts.loops:
        yield from _packed({_COUNTS_KEY_RANGE: counts})


def _packed(packs: dict[int, Pack]) -> Iterator[tuple[int, bytes]]:
    return ((key_range, _dump(pack)) for key_range, pack in packs.items())


def _dump(pack: Pack) -> bytes:
    # Pickle accepts bytes that are not valid text, and the data does not outlive the
    # pipeline. Plain tuples pickle three times as fast as named tuples.
    entries = [
        (key, origin, rank, image and tuple(image), caption and tuple(caption), *rest)
        for key, origin, rank, image, caption, *rest in pack.entries
    ]
    data = pickle.dumps((entries, pack.ignored, pack.loops))
    # The local engine holds all packs in memory, and similar paths compress well.
    return zlib.compress(data, 1)


def _load(data: bytes) -> Pack:
    entries, ignored, loops = pickle.loads(zlib.decompress(data))
    return Pack([_entry_of(*fields) for fields in entries], ignored, loops)


def _entry_of(
    key: bytes,
    origin: bytes,
    rank: int,
    image: tuple[Any, ...] | None,
    caption: tuple[Any, ...] | None,
    *rest: Any,
) -> Entry:
    return Entry(
        key,
        origin,
        rank,
        SourceFile(*image) if image else None,
        SourceFile(*caption) if caption else None,
        *rest,
    )


def unpack(packed: Iterable[bytes]) -> Pack:
    """Merges all packs of a key range into one."""
    merged = Pack()
    for data in packed:
        part = _load(data)
        merged.entries += part.entries
        merged.ignored += part.ignored
        merged.loops += part.loops
    return merged
