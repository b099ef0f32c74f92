"""`diptych verify`: is everything there, and is it what was written?"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c

from reader.catalog import Dataset, open_dataset
from reader.contract import schema
from reader.contract.errors import DatasetError
from reader.contract.layout import parse_shard_name
from reader.contract.manifest import Shard
from reader.contract.record import parse_example
from reader.shards import Damage, scan_shard

_CHUNK_BYTES = 1 << 20


class Report(NamedTuple):
    """What was checked, and all that is wrong.

    Attributes:
        num_shards: Checked.
        num_examples: Read, and found to be right.
        problems: A line each.
    """

    num_shards: int
    num_examples: int
    problems: list[str]


def verify(folder: str | os.PathLike[str]) -> Report:
    """Checks every checksum, count and key of a dataset, and its side files.

    Raises:
        DatasetError: There is no finished dataset.
    """
    dataset = open_dataset(folder)
    keys: set[bytes] = set()
    problems: list[str] = []
    for shard in dataset.manifest.shards:
        problems += _check_shard(dataset, shard, keys)
    problems += _check_files(dataset)
    problems += _check_counts(dataset)
    return Report(len(dataset.manifest.shards), len(keys), problems)


def _check_shard(dataset: Dataset, shard: Shard, keys: set[bytes]) -> Iterator[str]:
    """Yields what is wrong with a shard; adds the keys of its records."""
    path = dataset.path(shard.file)
    if not os.path.exists(path):
        yield f"{path} is missing"
        return
    size = os.path.getsize(path)
    if size != shard.num_bytes:
        yield f"{path}: {size} bytes, not {shard.num_bytes} as the manifest says"
    if _file_crc32c(path) != shard.crc32c:
        yield f"{path}: its checksum is not that of the manifest"
    num_readable = 0
    for part in scan_shard(path):
        where = f"{path} at byte {part.offset}"
        if isinstance(part, Damage):
            yield f"{where}: {part.what}"
        else:
            num_readable += 1
            yield from _check_record(dataset, part.data, where, keys)
    if num_readable != shard.num_examples:
        yield (
            f"{path}: {num_readable} records can be read, not {shard.num_examples} "
            "as the manifest says"
        )


def _check_record(
    dataset: Dataset, data: bytes, where: str, keys: set[bytes]
) -> Iterator[str]:
    try:
        example = parse_example(data)
    except ValueError as error:
        yield f"{where}: {error}"
        return
    for feature in dataset.manifest.features:
        if not _fits(feature, example):
            yield f"{where}: feature {feature.key} is not as the manifest says"
            return
    if sum(example[schema.TOKEN_LENGTHS]) != len(example[schema.TOKEN_IDS]):
        yield f"{where}: caption/lengths do not add up to caption/ids"
    (key,) = example[schema.KEY]
    if key in keys:
        yield f"{where}: key {schema.display_path(key)} is there twice"
    keys.add(key)


def _fits(feature: schema.Feature, example: dict[str, list[Any]]) -> bool:
    if feature.key not in example:
        return False
    return feature.shape != () or len(example[feature.key]) == 1


def _check_files(dataset: Dataset) -> Iterator[str]:
    """Yields what is wrong with the files beside the shards."""
    for file, crc32c in dataset.manifest.files.items():
        path = dataset.path(file)
        if not os.path.exists(path):
            yield f"{path} is missing"
        elif _file_crc32c(path) != crc32c:
            yield f"{path}: its checksum is not that of the manifest"
    known = {shard.file for shard in dataset.manifest.shards}
    for name in sorted(os.listdir(dataset.folder)):
        if parse_shard_name(name) is not None and name not in known:
            yield f"{dataset.path(name)} is no part of the dataset: remove it"


def _check_counts(dataset: Dataset) -> Iterator[str]:
    """Yields where the manifest contradicts itself, or the tokenizer."""
    try:
        dataset.tokenizer()
    except DatasetError as error:
        yield str(error)
    manifest = dataset.manifest
    if not manifest.books.balanced:
        yield "manifest.json: its books do not balance"
    if manifest.books.written != manifest.num_examples:
        yield "manifest.json: its books and its shards count different examples"


def _file_crc32c(path: str) -> str:
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum.update(chunk)
    return str(checksum.digest().hex())
