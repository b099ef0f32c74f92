"""Maps record numbers to files, byte offsets and record counts.

Records are numbered in shard order and, within a shard, in the order written. The block
index holds the offset of every 64th record. Offsets between them are sums of record
lengths, or come from the text index of the shard where lengths are not at hand.
"""

import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.layer import Fill, fill_of
from reader.contract.errors import UsageError
from reader.contract.layout import BLOCK_RECORDS, LENGTHS
from reader.contract.record import FRAMING_BYTES
from reader.contract.schema import Feature
from reader.shuffle.arrays import Int64s
from reader.shuffle.order import Blocks
from reader.storage.files import is_remote

_LOG = logging.getLogger("reader")
# Offsets of single records kept in memory, 8 bytes each.
_MAX_OFFSETS = 8 << 20


@dataclass(frozen=True)
class ShardFile:
    """A TFRecord file.

    Attributes:
        path: Path of the file.
        num_examples: Number of records in the file.
        num_bytes: Size of the file, in bytes.
        checksum: CRC32C of the file as in the manifest; without a manifest, CRC32C of
            the record offsets; empty if unknown.
        offsets: Function that returns the byte offsets of the records and the end of
            the last one, int64[n + 1].
        lengths: Framed lengths of the records, uint32[n], if they are at hand; they may
            be damaged.
        has_manifest: Whether a manifest states the size and checksum of the file.
        features: Features of the records by role, for messages about damaged records.
        dataset: Number of the dataset that the file belongs to, of several that are
            read together.
    """

    path: str
    num_examples: int
    num_bytes: int
    checksum: str
    offsets: Callable[[], Int64s]
    lengths: NDArray[np.uint32] | None = dataclasses.field(default=None, compare=False)
    has_manifest: bool = False
    features: Mapping[str, Feature] = dataclasses.field(default_factory=dict)
    dataset: int = 0

    def check_is_cacheable(self) -> None:
        """Checks that a manifest states the checksum of the file.

        Raises:
            UsageError: There is no manifest.
        """
        if not self.has_manifest:
            raise UsageError(
                "cache needs a manifest to check copies against; "
                f"{self.path} has no manifest: leave out cache, or copy the files "
                "yourself"
            )


@dataclass(frozen=True)
class LayerFiles:
    """Files of a layer: features that are added to the records of other shards.

    Attributes:
        name: Name of the layer.
        features: Features that the layer adds.
        replaces: What the layer takes the place of, such as `captions`.
        shards: Shards of the layer, one for each shard that it adds features to, with
            as many records.
        block_offsets: int64[num_blocks], byte offset of every 64th record of each
            shard, concatenated in shard order.
    """

    name: str
    features: tuple[Feature, ...]
    replaces: tuple[str, ...]
    shards: tuple[ShardFile, ...]
    block_offsets: Int64s

    @cached_property
    def fill(self) -> Fill:
        """What follows each record of the layer."""
        return fill_of(self.name, self.features)


class Span(NamedTuple):
    """Position of a framed record in a file.

    Attributes:
        path: Path of the file.
        begin: Byte offset of the record's first byte.
        end: Byte offset after its last byte.
    """

    path: str
    begin: int
    end: int


class Reads(NamedTuple):
    """Reads for a set of records, and the order to bring the records into.

    Attributes:
        pieces: int64[n, 4], one row per read: file, byte offset, records to skip from
            there, records to read.
        order: int64[m], for each requested record its position among the records read.
        numbers: int64[k], record numbers in the order read.
        lengths: int64[k], record lengths in bytes in the order read, without framing;
            -1 where unknown.
        layers: `pieces` and `lengths` of each layer, for the same records.
    """

    pieces: Int64s
    order: Int64s
    numbers: Int64s
    lengths: Int64s
    layers: tuple[tuple[Int64s, Int64s], ...] = ()


class RecordIndex:
    """Index of the records of several shards, and of layers that are read with them.

    Attributes:
        shards: Shards in order.
        layers: Layers that add features to the records.
        blocks: Blocks of up to 64 neighboring records, the units of the shuffle.
    """

    def __init__(
        self,
        shards: Sequence[ShardFile],
        block_offsets: Int64s,
        layers: Sequence[LayerFiles] = (),
    ) -> None:
        """Creates the index.

        Args:
            shards: Shards in order.
            block_offsets: int64[num_blocks], byte offset of every 64th record of each
                shard, concatenated in shard order.
            layers: Layers that add features to the records.
        """
        self.shards = tuple(shards)
        self.layers = tuple(layers)
        self._of_layers = [
            RecordIndex(layer.shards, layer.block_offsets) for layer in layers
        ]
        counts = np.array([shard.num_examples for shard in shards], np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        num_blocks = -(-counts // BLOCK_RECORDS)
        self._first_block = np.concatenate([[0], np.cumsum(num_blocks)])
        within = np.arange(self._first_block[-1]) - np.repeat(
            self._first_block[:-1], num_blocks
        )
        first = np.repeat(self._first[:-1], num_blocks) + BLOCK_RECORDS * within
        self.blocks = Blocks(np.append(first, self._first[-1]))
        self._block_offsets = block_offsets
        self._ends = np.array([shard.num_bytes for shard in shards], np.int64)
        self._offsets: OrderedDict[int, Int64s] = OrderedDict()
        self._num_offsets = 0
        remote = any(is_remote(shard.path) for shard in shards)
        # Skipping a record costs little in a local file but a request in a bucket. If
        # the offsets are neither mapped nor fit in memory, looking them up costs more
        # than it saves.
        mapped = all(shard.lengths is not None for shard in shards)
        self._exact = mapped or remote or self.num_records <= _MAX_OFFSETS
        self._datasets = np.array([shard.dataset for shard in shards], np.int32)

    @property
    def files(self) -> tuple[ShardFile, ...]:
        """All files: the shards, then those of each layer."""
        return self.shards + tuple(
            shard for layer in self.layers for shard in layer.shards
        )

    @property
    def fills(self) -> tuple[Fill, ...]:
        """What follows the records of each layer."""
        return tuple(layer.fill for layer in self.layers)

    def moved(self, files: Sequence[ShardFile]) -> "RecordIndex":
        """Returns the same index for copies of its files, such as those in a cache."""
        num = len(self.shards)
        layers = [
            dataclasses.replace(layer, shards=tuple(files[begin : begin + num]))
            for layer, begin in zip(self.layers, self._first_files, strict=True)
        ]
        return RecordIndex(files[:num], self._block_offsets, layers)

    @property
    def _first_files(self) -> list[int]:
        """Index in `files` of the first shard of each layer."""
        num = len(self.shards)
        return [num * place for place in range(1, len(self.layers) + 1)]

    @property
    def num_records(self) -> int:
        """Number of records in all shards."""
        return int(self._first[-1])

    @property
    def num_bytes(self) -> int:
        """Total size of all shards, in bytes; layers do not count."""
        return int(self._ends.sum())

    @property
    def has_lengths(self) -> bool:
        """Whether the length of every record is known, as `places` needs it."""
        return self._exact and all(layer._exact for layer in self._of_layers)

    def locate(self, number: int) -> tuple[int, int]:
        """Returns the index of a record's shard and its position in that shard."""
        shard = int(np.searchsorted(self._first, number, side="right")) - 1
        return shard, number - int(self._first[shard])

    def datasets_of(self, numbers: Int64s) -> NDArray[np.int32]:
        """Returns int32[n], the number of the dataset that each record belongs to.

        Args:
            numbers: int64[n], record numbers; negative at blank positions.
        """
        shard = np.searchsorted(self._first, _filled(numbers), side="right") - 1
        datasets: NDArray[np.int32] = self._datasets[shard]
        return datasets

    def spans(self, number: int) -> list[Span]:
        """Returns where a record is, and then where the record of each layer is."""
        shard, place = self.locate(number)
        spans = []
        for index in (self, *self._of_layers):
            begin, end = index.offsets(shard)[place : place + 2].tolist()
            spans.append(Span(index.shards[shard].path, begin, end))
        return spans

    def joined(self, parts: Sequence[bytes]) -> bytes:
        """Returns a record followed by what layers add to it.

        Args:
            parts: The record, and that of each layer.
        """
        record, *added = parts
        filled = map(Fill.complete, self.fills, added)
        return b"".join((record, *filled)) if added else record

    def places(self, numbers: Int64s) -> Int64s:
        """Returns where single records are; needs `has_lengths`.

        Args:
            numbers: int64[n], record numbers; negative at blank positions, which any
                record may fill.

        Returns:
            int64[n, 4 + 3 * layers]: number of each record, its file, and the byte
            offsets of its begin and end in that file, framing included; the last three
            for each layer too.
        """
        wanted = _filled(numbers)
        shard = np.searchsorted(self._first, wanted, side="right") - 1
        columns = [wanted, shard, *self._bounds(wanted, shard)]
        for layer, first in zip(self._of_layers, self._first_files, strict=True):
            columns += [first + shard, *layer._bounds(wanted, shard)]
        return np.stack(columns, axis=1)

    def reads(self, numbers: Int64s) -> Reads:
        """Returns the reads for a set of records, in file order and without overlaps.

        Neighboring records become one read. A negative number is a blank position: any
        record may fill it.
        """
        unique, order = np.unique(_filled(numbers), return_inverse=True)
        shard = np.searchsorted(self._first, unique, side="right") - 1
        fresh = np.diff(unique, prepend=-2) != 1
        begin = np.flatnonzero(fresh | (np.diff(shard, prepend=-1) != 0))
        runs = begin, np.diff(begin, append=len(unique))
        pieces, lengths = self._pieces(unique, shard, *runs)
        layers = []
        for layer, first in zip(self._of_layers, self._first_files, strict=True):
            of_layer = layer._pieces(unique, shard, *runs)
            of_layer[0][:, 0] += first
            layers.append(of_layer)
        return Reads(pieces, order.astype(np.int64), unique, lengths, tuple(layers))

    def _pieces(
        self, numbers: Int64s, shard: Int64s, begin: Int64s, count: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Returns the reads for runs of records, and the lengths of these records.

        Args:
            numbers: int64[k], record numbers, sorted.
            shard: int64[k], shard of each record.
            begin: int64[n], position of the first record of each run.
            count: int64[n], number of records in each run.

        Returns:
            int64[n, 4] and int64[k], as in `Reads`.
        """
        lengths = np.full(len(numbers), -1)
        if self._exact:
            begins, ends = self._bounds(numbers, shard)
            lengths = ends - begins - FRAMING_BYTES
            offset, skip = begins[begin], np.zeros_like(begin)
        else:
            block = self.blocks.of_records(numbers[begin])
            offset = self._block_offsets[block]
            skip = numbers[begin] - self.blocks.first[block]
        pieces = np.stack([shard[begin], offset, skip, count], axis=1)
        return pieces, lengths

    def _bounds(self, numbers: Int64s, shard: Int64s) -> tuple[Int64s, Int64s]:
        """Returns the start and end byte offsets of records, int64[n] each."""
        block = self.blocks.of_records(numbers)
        wanted, row = np.unique(block, return_inverse=True)
        lengths, sound = self._lengths_in(wanted)
        at = row, numbers - self.blocks.first[block]
        ends_within = np.cumsum(lengths, axis=1)
        ends = self._block_offsets[block] + ends_within[at]
        begins = ends - lengths[at]
        others = ~sound[row]
        for each in np.unique(shard[others]).tolist():
            mine = others & (shard == each)
            offsets, places = self.offsets(each), numbers[mine] - self._first[each]
            begins[mine], ends[mine] = offsets[places], offsets[places + 1]
        return begins, ends

    def _lengths_in(self, blocks: Int64s) -> tuple[Int64s, NDArray[np.bool_]]:
        """Returns the lengths of the records of blocks, where available.

        Returns:
            int64[n, 64], framed lengths, 0 after the last record of a block; and
            bool[n], False for blocks whose lengths are missing or do not add up.
        """
        shard = np.searchsorted(self._first_block, blocks, side="right") - 1
        first = BLOCK_RECORDS * (blocks - self._first_block[shard])
        lengths = np.zeros((len(blocks), BLOCK_RECORDS), np.int64)
        for row, each, begin in zip(
            lengths, shard.tolist(), first.tolist(), strict=True
        ):
            stored = self.shards[each].lengths
            if stored is not None:
                some = stored[begin : begin + BLOCK_RECORDS]
                row[: len(some)] = some
        is_last = blocks + 1 == self._first_block[shard + 1]
        following = np.minimum(blocks + 1, len(self._block_offsets) - 1)
        ends = np.where(is_last, self._ends[shard], self._block_offsets[following])
        num = self.blocks.first[blocks + 1] - self.blocks.first[blocks]
        absent = np.arange(BLOCK_RECORDS) >= num[:, np.newaxis]
        whole = (absent | (lengths >= FRAMING_BYTES)).all(axis=1)
        return lengths, whole & (
            lengths.sum(axis=1) == ends - self._block_offsets[blocks]
        )

    def offsets(self, shard: int) -> Int64s:
        """Returns int64[n + 1], a shard's record offsets and the end of the last."""
        if shard in self._offsets:
            self._offsets.move_to_end(shard)
            return self._offsets[shard]
        offsets = self._offsets[shard] = self._all_offsets(shard)
        self._num_offsets += len(offsets)
        while self._num_offsets > _MAX_OFFSETS and len(self._offsets) > 1:
            _, dropped = self._offsets.popitem(last=False)
            self._num_offsets -= len(dropped)
        return offsets

    def _all_offsets(self, shard: int) -> Int64s:
        file = self.shards[shard]
        if file.lengths is not None:
            offsets = np.zeros(file.num_examples + 1, np.int64)
            np.cumsum(file.lengths, out=offsets[1:])
            stated = np.append(offsets[:-1:BLOCK_RECORDS], offsets[-1])
            sound = not len(file.lengths) or file.lengths.min() >= FRAMING_BYTES
            if sound and np.array_equal(stated, self._blocks_of(shard)):
                return offsets
            _LOG.warning(
                "the lengths of the records of %s in %s are damaged; reading the text "
                "index instead",
                file.path,
                LENGTHS,
            )
        return file.offsets()

    def _blocks_of(self, shard: int) -> Int64s:
        """Returns the offset of every 64th record of a shard, and the shard's size."""
        first, last = self._first_block[shard : shard + 2].tolist()
        return np.append(self._block_offsets[first:last], self._ends[shard])


def _filled(numbers: Int64s) -> Int64s:
    """Returns record numbers with one of them at each blank position."""
    return np.where(numbers < 0, max(0, int(numbers.max(initial=0))), numbers)
