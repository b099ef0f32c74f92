"""Packs: entries on their way to their key range, many to one element.

An engine spends as long on an element as we do on ten entries.
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

# Large enough to spread the cost of an element, small enough to bound memory.
_PACK_ENTRIES = 100_000

# Counts of what belongs to no key ride along with this key range.
_BUCKET_OF_COUNTS = 0


@dataclass
class Pack:
    """What was found for one key range.

    Attributes:
        entries: Of its keys.
        ignored: `{kind: files}` that are neither image nor caption.
        loops: Links that lead back to a folder that holds them.
    """

    entries: list[Entry] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    loops: list[bytes] = field(default_factory=list)

    def add(self, aside: Aside) -> None:
        """Counts what belongs to no key."""
        if aside.kind == "loop":
            self.loops.append(aside.path)
        else:
            self.ignored[aside.counted_as] += 1


def pack(
    found: Iterable[Entry | Aside], seed: int, spill: ArrayWriter
) -> Iterator[tuple[int, bytes]]:
    """Yields (key range, packed bytes) of a source's entries; stores long arrays."""
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
        yield from _packed({_BUCKET_OF_COUNTS: counts})


def _packed(packs: dict[int, Pack]) -> Iterator[tuple[int, bytes]]:
    return ((key_range, _dump(pack)) for key_range, pack in packs.items())


def _dump(pack: Pack) -> bytes:
    # Pickle takes bytes that are no text, and lives no longer than the pipeline. It is
    # three times as fast with plain tuples as with named ones.
    entries = [
        (key, origin, rank, image and tuple(image), caption and tuple(caption), *rest)
        for key, origin, rank, image, caption, *rest in pack.entries
    ]
    data = pickle.dumps((entries, pack.ignored, pack.loops))
    # The local engine holds all packs in memory, and paths are much alike.
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
    """Returns all packs of a key range as one."""
    whole = Pack()
    for data in packed:
        part = _load(data)
        whole.entries += part.entries
        whole.ignored += part.ignored
        whole.loops += part.loops
    return whole
