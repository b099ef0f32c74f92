"""Copies of shards in a local folder, so that a bucket is asked for them once.

Never of decoded images: those would freeze the crops and captions of one epoch.
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

# Copies at a time, and how much of each is held meanwhile.
_COPIES = 8
_PART_BYTES = 8 << 20


def keep_copies(shards: Sequence[ShardFile], folder: str) -> list[ShardFile]:
    """Returns shards that lie in a local folder, copied as far as need be.

    A copy is checked against the manifest before it counts as one; it is called after
    its checksum, so that another version of the dataset has copies of its own. Several
    processes may share a folder.

    Raises:
        UsageError: Nothing says what a whole copy is, or there is no room for it.
        DatasetError: A shard has not the checksum that the manifest says.
    """
    for shard in shards:
        if not shard.has_manifest:
            raise UsageError(
                "cache needs a manifest, which says what a whole copy is; "
                f"{shard.path} has none: leave it out, or copy the files yourself"
            )
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
            f"cache={folder!r} cannot take {total} bytes: {error}"
        ) from error


def _copy(shard: ShardFile, path: str, bar: "tqdm[Any]") -> None:
    """Copies one shard; its name appears when all of it is there and checked."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    crc = google_crc32c.Checksum()
    with replaced(path) as file:
        for part in _parts(shard):
            crc.update(part)
            file.write(part)
            bar.update(len(part))
        if crc.hexdigest().decode() != shard.checksum:
            raise DatasetError(
                f"{shard.path} has not the checksum that the manifest says: run "
                "`diptych verify`, or build again"
            )


def _parts(shard: ShardFile) -> Iterator[bytes]:
    for offset in range(0, shard.num_bytes, _PART_BYTES):
        size = min(_PART_BYTES, shard.num_bytes - offset)
        try:
            yield read_bytes(shard.path, offset, size)
        except OSError as error:
            raise DatasetError(f"{shard.path} cannot be read: {error}") from error
