"""Reads the `index/` of a dataset or layer and checks it against its manifest."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import DatasetError
from reader.contract.index import (
    LENGTH_BYTES,
    num_blocks,
    parse_blocks,
    parse_lengths,
    parse_text_index,
)
from reader.contract.layout import BLOCKS, LENGTHS, parse_shard_name
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.contract.schema import Feature
from reader.datasets.manifest_dataset import IndexedFolder
from reader.datasets.record_index import ShardFile
from reader.shuffle.arrays import Int64s
from reader.storage.files import begin_reading, is_remote, read_bytes, read_large
from reader.storage.tfrecord_file import scan_headers

_LOG = logging.getLogger("reader")
# Lengths of so many records, 32 MiB, are read and not mapped: a mapped file that
# becomes shorter ends the process. From a bucket, more are copied to a file first.
_MOST_READ = 8 << 20


@dataclass(frozen=True)
class OpeningShards:
    """Some shards whose index is being read.

    Attributes:
        folder: Folder of the shards.
        shards: Shards, in the order of the index.
        blocks: Function that returns the byte offsets of their blocks.
        lengths: Function that returns the lengths of the records of all shards.
    """

    folder: IndexedFolder
    shards: Sequence[Shard]
    blocks: Callable[[], Int64s]
    lengths: Callable[[], dict[str, NDArray[np.uint32]]]

    def files(
        self, features: Mapping[str, Feature]
    ) -> tuple[tuple[ShardFile, ...], Int64s]:
        """Returns the files of the shards, and the byte offsets of their blocks.

        Args:
            features: Features of the records by role.

        Raises:
            DatasetError: The block index is missing, damaged, or does not match the
                shards.
        """
        blocks, lengths, folder = self.blocks(), self.lengths(), self.folder

        def file_of(shard: Shard) -> ShardFile:
            return ShardFile(
                path=folder.path(shard.file),
                num_examples=shard.num_examples,
                num_bytes=shard.num_bytes,
                checksum=shard.crc32c,
                has_manifest=True,
                offsets=lambda: read_offsets(folder, shard),
                lengths=lengths.get(shard.file),
                features=features,
            )

        return tuple(map(file_of, self.shards)), blocks


def open_shards(folder: IndexedFolder, shards: Sequence[Shard]) -> OpeningShards:
    """Begins to read the index of some shards.

    Args:
        folder: Folder of the shards.
        shards: Shards, in the order of the index.
    """
    chosen = {shard.file for shard in shards}
    return OpeningShards(
        folder,
        shards,
        begin_reading(folder.folder, read_blocks, folder, chosen),
        begin_reading(folder.folder, read_lengths, folder),
    )


def read_blocks(folder: IndexedFolder, chosen: set[str]) -> Int64s:
    """Returns the byte offsets of the blocks of some shards, from `index/blocks.bin`.

    Args:
        folder: Folder of the shards.
        chosen: File names of the shards to return block offsets of.

    Raises:
        DatasetError: The file is missing, damaged, or does not match the shards.
    """
    data = _read_index(folder, BLOCKS)
    offsets = parse_blocks(data)
    counts = [num_blocks(shard.num_examples) for shard in folder.shards]
    if sum(counts) != len(offsets):
        raise DatasetError(
            f"{folder.path(BLOCKS)} has {len(offsets)} blocks, not {sum(counts)} as "
            f"{folder.stated_by} says: restore it or {folder.again}"
        )
    if len(chosen) == len(folder.shards):
        return offsets
    wanted = np.repeat([shard.file in chosen for shard in folder.shards], counts)
    part: Int64s = offsets[wanted]
    return part


def read_lengths(folder: IndexedFolder) -> dict[str, NDArray[np.uint32]]:
    """Returns the lengths of all records of all shards, from `index/lengths.bin`.

    A large file is mapped into memory, and its checksum is not checked. Callers compare
    the sum of the lengths of each block with the block index, which is checked.

    Returns:
        For each shard's file name the framed lengths of its records; nothing for
        datasets of earlier versions.
    """
    shards, path = folder.shards, folder.path(LENGTHS)
    ends = np.cumsum([shard.num_examples for shard in shards])
    if LENGTHS not in folder.files or not ends[-1]:
        return {}
    try:
        is_large = ends[-1] > _MOST_READ
        data = _mapped(path, ends[-1]) if is_large else _read_index(folder, LENGTHS)
        lengths = parse_lengths(data)
        if len(lengths) != ends[-1]:
            raise ValueError(f"{len(lengths)} lengths for {ends[-1]} records")
    except (DatasetError, OSError, ValueError) as error:
        _LOG.warning("%s: %s; reading the text indexes instead", path, error)
        return {}
    parts = np.split(lengths, ends[:-1])
    return {shard.file: part for shard, part in zip(shards, parts, strict=True)}


def _mapped(path: str, num_records: int) -> NDArray[np.uint8]:
    if is_remote(path):
        return np.memmap(read_large(path, num_records * LENGTH_BYTES), mode="r")
    return np.memmap(path, mode="r")


def _read_index(folder: IndexedFolder, file: str) -> bytes:
    path = folder.path(file)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it or {folder.again}") from None
    if crc32c_hex(data) != folder.files.get(file):
        raise DatasetError(
            f"{path} is damaged (its checksum differs from {folder.stated_by}): "
            f"restore it or {folder.again}"
        )
    return data


def read_offsets(folder: IndexedFolder, shard: Shard) -> Int64s:
    """Returns the byte offsets of a shard's records and the end of the last one.

    If the index of the shard is damaged, reads the offsets from the record headers.

    Returns:
        int64[n + 1], for n records.

    Raises:
        DatasetError: Index and shard are both damaged, or the number of records differs
            from the manifest.
    """
    offsets, path = _offsets_in_index(folder, shard), folder.path(shard.file)
    if offsets is None:
        offsets = _offsets_in_headers(path)
    if len(offsets) != shard.num_examples + 1:
        raise DatasetError(
            f"{path} has {len(offsets) - 1} records, not {shard.num_examples} as "
            f"{folder.stated_by} says: restore them or {folder.again}"
        )
    return offsets


def _offsets_in_index(folder: IndexedFolder, shard: Shard) -> Int64s | None:
    name = parse_shard_name(shard.file)
    if name is None:
        return None
    try:
        return parse_text_index(_read_index(folder, name.index_file))
    except DatasetError as error:
        _LOG.warning("%s; reading the headers of %s instead", error, shard.file)
        return None


def _offsets_in_headers(path: str) -> Int64s:
    try:
        offsets, damage = scan_headers(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it") from None
    if damage is not None:
        raise DatasetError(f"{damage.what} in {path} at byte {damage.offset}")
    return np.array(offsets, np.int64)
