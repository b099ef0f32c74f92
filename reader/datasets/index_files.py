"""Reads the `index/` of a dataset and checks it against the manifest."""

import logging

import numpy as np
from numpy.typing import NDArray

from reader.contract.errors import DatasetError
from reader.contract.index import (
    num_blocks,
    parse_blocks,
    parse_lengths,
    parse_text_index,
)
from reader.contract.layout import BLOCKS, LENGTHS, parse_shard_name
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.datasets.manifest_dataset import ShardSelection
from reader.shuffle.arrays import Int64s
from reader.storage.files import is_remote, read_bytes
from reader.storage.tfrecord_file import scan_headers

_LOG = logging.getLogger("reader")
# Lengths of so many records, 32 MiB, are read and not mapped: a mapped file that
# becomes shorter ends the process.
_MOST_READ = 8 << 20


def read_blocks(selection: ShardSelection, chosen: set[str]) -> Int64s:
    """Returns the byte offsets of the blocks of some shards, from `index/blocks.bin`.

    Args:
        selection: Selected shards of a dataset.
        chosen: File names of the shards to return block offsets of.

    Raises:
        DatasetError: The file is missing, damaged, or does not match the shards.
    """
    manifest = selection.dataset.manifest
    data = _read_index(selection, BLOCKS)
    offsets = parse_blocks(data)
    counts = [num_blocks(shard.num_examples) for shard in manifest.shards]
    if sum(counts) != len(offsets):
        raise DatasetError(
            f"{selection.dataset.path(BLOCKS)} has {len(offsets)} blocks, not "
            f"{sum(counts)} as the manifest says: restore it or build again"
        )
    if len(chosen) == len(manifest.shards):
        return offsets
    wanted = np.repeat([shard.file in chosen for shard in manifest.shards], counts)
    part: Int64s = offsets[wanted]
    return part


def read_lengths(selection: ShardSelection) -> dict[str, NDArray[np.uint32]]:
    """Returns the lengths of all records of a dataset, from `index/lengths.bin`.

    A large file is mapped into memory, and its checksum is not checked. Callers compare
    the sum of the lengths of each block with the block index, which is checked.

    Returns:
        For each shard's file name the framed lengths of its records; nothing for
        datasets of earlier versions and for datasets in buckets.
    """
    shards, path = selection.dataset.manifest.shards, selection.dataset.path(LENGTHS)
    files = selection.dataset.manifest.files
    ends = np.cumsum([shard.num_examples for shard in shards])
    if LENGTHS not in files or is_remote(path) or not ends[-1]:
        return {}
    try:
        is_large = ends[-1] > _MOST_READ
        data = (
            np.memmap(path, mode="r") if is_large else _read_index(selection, LENGTHS)
        )
        lengths = parse_lengths(data)
        if len(lengths) != ends[-1]:
            raise ValueError(f"{len(lengths)} lengths for {ends[-1]} records")
    except (DatasetError, OSError, ValueError) as error:
        _LOG.warning("%s: %s; reading the text indexes instead", path, error)
        return {}
    parts = np.split(lengths, ends[:-1])
    return {shard.file: part for shard, part in zip(shards, parts, strict=True)}


def _read_index(selection: ShardSelection, file: str) -> bytes:
    path = selection.dataset.path(file)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it or build again") from None
    if crc32c_hex(data) != selection.dataset.manifest.files.get(file):
        raise DatasetError(
            f"{path} is damaged (its checksum differs from the manifest): restore it "
            "or build again"
        )
    return data


def read_offsets(selection: ShardSelection, shard: Shard) -> Int64s:
    """Returns the byte offsets of a shard's records and the end of the last one.

    If the index of the shard is damaged, reads the offsets from the record headers.

    Returns:
        int64[n + 1], for n records.

    Raises:
        DatasetError: Index and shard are both damaged, or the number of records differs
            from the manifest.
    """
    offsets = _offsets_in_index(selection, shard)
    if offsets is None:
        offsets = _offsets_in_headers(selection.dataset.path(shard.file))
    if len(offsets) != shard.num_examples + 1:
        raise DatasetError(
            f"{selection.dataset.path(shard.file)} has {len(offsets) - 1} records, not "
            f"{shard.num_examples} as the manifest says: restore them or build again"
        )
    return offsets


def _offsets_in_index(selection: ShardSelection, shard: Shard) -> Int64s | None:
    name = parse_shard_name(shard.file)
    if name is None:
        return None
    try:
        return parse_text_index(_read_index(selection, name.index_file))
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
