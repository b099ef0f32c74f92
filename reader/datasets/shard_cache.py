"""Caches shards in a local folder, so a bucket serves each shard only once.

The cache holds encoded shards, not decoded images. Decoded images would repeat the
crops and captions of one epoch.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
from tqdm import tqdm

from reader.contract.errors import DatasetError, UsageError
from reader.datasets.record_index import ShardFile
from reader.storage.files import read_bytes, replaced

# Concurrent copies, and bytes of each copy held in memory.
_COPIES = 8
_PART_BYTES = 8 << 20


def keep_copies(shards: Sequence[ShardFile], folder: str) -> list[ShardFile]:
    """Copies missing shards to a local folder and returns the local shards.

    Checks the checksum of each copy against the manifest before an atomic rename makes
    the copy visible. The path of a copy contains the checksum, so another version of
    the dataset gets its own copies. Several processes may share a folder.

    Raises:
        UsageError: A shard has no manifest to check its copy against, or the folder
            cannot be written, for example because the disk is full.
        DatasetError: A shard cannot be read, or its checksum differs from the manifest.
    """
    for shard in shards:
        shard.check_is_cacheable()
    copies = [_place(shard, folder) for shard in shards]
    _copy_all([pair for pair in copies if not _is_there(*pair)], folder)
    return [dataclasses.replace(shard, path=path) for shard, path in copies]


def _place(shard: ShardFile, folder: str) -> tuple[ShardFile, str]:
    name = shard.path.rpartition("/")[2]
    return shard, os.path.join(folder, f"{shard.checksum}-{shard.num_bytes}", name)


def _is_there(shard: ShardFile, path: str) -> bool:
    try:
        return os.path.getsize(path) == shard.num_bytes
    except OSError:
        return False


def _copy_all(missing: list[tuple[ShardFile, str]], folder: str) -> None:
    if not missing:
        return
    total = sum(shard.num_bytes for shard, _ in missing)
    bar: tqdm[Any] = tqdm(
        total=total, unit="B", unit_scale=True, desc=f"copying to {folder}"
    )
    try:
        with bar, ThreadPoolExecutor(_COPIES) as pool:
            tasks = [pool.submit(_copy, *pair, bar) for pair in missing]
            try:
                for task in tasks:
                    task.result()
            finally:
                pool.shutdown(cancel_futures=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {total} bytes to cache={folder!r}: {error}"
        ) from error


def _copy(shard: ShardFile, path: str, bar: "tqdm[Any]") -> None:
    """Copies one shard; an atomic rename publishes the copy once it is checked."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    crc = google_crc32c.Checksum()
    with replaced(path) as file:
        for part in _parts(shard):
            crc.update(part)
            file.write(part)
            bar.update(len(part))
        if crc.hexdigest().decode() != shard.checksum:
            raise DatasetError(
                f"{shard.path} does not match its checksum in the manifest: run "
                "`diptych verify`, or build again"
            )


def _parts(shard: ShardFile) -> Iterator[bytes]:
    for offset in range(0, shard.num_bytes, _PART_BYTES):
        size = min(_PART_BYTES, shard.num_bytes - offset)
        try:
            yield read_bytes(shard.path, offset, size)
        except OSError as error:
            raise DatasetError(f"{shard.path} cannot be read: {error}") from error
