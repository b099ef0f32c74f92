"""`diptych verify`: is everything there, and is it what was written?"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c

from reader.catalog import Dataset, open_dataset
from reader.contract import schema
from reader.contract.errors import DatasetError
from reader.contract.layout import (
    BLOCKS,
    INDEX_DIR,
    MANIFEST,
    REJECTS,
    SAMPLES_DIR,
    TOKENIZER_DIR,
    parse_shard_name,
    shard_of_file,
)
from reader.contract.manifest import Manifest, Shard
from reader.contract.record import parse_example
from reader.contract.statistics import Statistics, statistics_of
from reader.shards import Damage, scan_shard

_CHUNK_BYTES = 1 << 20

_TYPES = {"bytes": bytes, "int64": int, "float32": float}


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
    for split in dataset.manifest.splits:
        statistics = Statistics()
        for shard in split.shards:
            check = _ShardCheck(dataset, shard, keys)
            problems += check.problems()
            statistics = statistics.merge(check.statistics)
        # Of before these were counted.
        told = split.statistics
        if told.captions is None:
            statistics = dataclasses.replace(statistics, captions=None)
        if told.one_token_captions is None:
            statistics = dataclasses.replace(statistics, one_token_captions=None)
        if statistics != told:
            problems.append(
                f"{dataset.path(MANIFEST)}: its statistics of {split.name} are not "
                "those of the records that can be read"
            )
    problems += _check_files(dataset)
    problems += _check_books(dataset)
    return Report(len(dataset.manifest.shards), len(keys), problems)


class _ShardCheck:
    """Reads one shard; gathers what is wrong, its keys, and its statistics."""

    def __init__(self, dataset: Dataset, shard: Shard, keys: set[bytes]) -> None:
        self._dataset = dataset
        self._shard = shard
        self._path = dataset.path(shard.file)
        self._keys = keys
        self.statistics = Statistics()

    def problems(self) -> Iterator[str]:
        if not os.path.isfile(self._path):
            yield f"{self._path} is missing"
            return
        size = os.path.getsize(self._path)
        if size != self._shard.num_bytes:
            expected = self._shard.num_bytes
            yield f"{self._path}: {size} bytes, not {expected} as the manifest says"
        if _file_crc32c(self._path) != self._shard.crc32c:
            yield f"{self._path}: its checksum is not that of the manifest"
        num_readable = 0
        for part in scan_shard(self._path):
            where = f"{self._path} at byte {part.offset}"
            if isinstance(part, Damage):
                yield f"{where}: {part.what}"
            else:
                num_readable += 1
                yield from self._check_record(part.data, where)
        if num_readable != self._shard.num_examples:
            yield (
                f"{self._path}: {num_readable} records can be read, not "
                f"{self._shard.num_examples} as the manifest says"
            )

    def _check_record(self, data: bytes, where: str) -> Iterator[str]:
        try:
            example = parse_example(data)
        except ValueError as error:
            yield f"{where}: {error}"
            return
        for feature in self._dataset.manifest.features:
            if not _fits(feature, example):
                yield f"{where}: feature {feature.key} is not as the manifest says"
                return
        if sum(example[schema.TOKEN_LENGTHS]) != len(example[schema.TOKEN_IDS]):
            yield f"{where}: caption/lengths do not add up to caption/ids"
        (key,) = example[schema.KEY]
        if key in self._keys:
            yield f"{where}: key {schema.display_path(key)} is there twice"
        self._keys.add(key)
        unknown_id = self._dataset.manifest.tokenizer.unknown_id
        self.statistics = self.statistics.merge(_statistics(example, unknown_id))


def _fits(feature: schema.Feature, example: dict[str, list[Any]]) -> bool:
    values = example.get(feature.key)
    if values is None or (feature.shape == () and len(values) != 1):
        return False
    return all(isinstance(value, _TYPES[feature.dtype]) for value in values)


def _statistics(example: dict[str, list[Any]], unknown_id: int | None) -> Statistics:
    return statistics_of(
        widths=example[schema.WIDTH],
        heights=example[schema.HEIGHT],
        image_bytes=[len(example[schema.IMAGE][0])],
        num_tokens=[example[schema.TOKEN_LENGTHS]],
        num_unknown=example[schema.TOKEN_IDS].count(unknown_id),
    )


def _check_files(dataset: Dataset) -> Iterator[str]:
    """Yields what is wrong with the files beside the shards."""
    for file, crc32c in dataset.manifest.files.items():
        path = dataset.path(file)
        if not os.path.isfile(path):
            yield f"{path} is missing"
        elif _file_crc32c(path) != crc32c:
            yield f"{path}: its checksum is not that of the manifest"
    manifest = dataset.manifest
    for file in _files_of(manifest):
        if file not in manifest.files:
            yield f"{dataset.path(MANIFEST)}: it has no checksum of {file}"
    known = {*manifest.files, *(shard.file for shard in manifest.shards)}
    for folder in ("", INDEX_DIR, SAMPLES_DIR):
        for file in _named_after_shards(dataset, folder):
            if file not in known:
                yield f"{dataset.path(file)} is no part of the dataset: remove it"


def _named_after_shards(dataset: Dataset, folder: str) -> list[str]:
    path = dataset.path(folder)
    names = sorted(os.listdir(path)) if os.path.isdir(path) else []
    return [os.path.join(folder, name) for name in names if shard_of_file(name)]


def _files_of(manifest: Manifest) -> Iterator[str]:
    """Yields every file that a dataset has beside its shards and its manifest."""
    yield from (BLOCKS, REJECTS, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}")
    for shard in manifest.shards:
        name = parse_shard_name(shard.file)
        if name is not None:
            yield from (name.index_file, name.samples_file)


def _check_books(dataset: Dataset) -> Iterator[str]:
    """Yields where the manifest contradicts itself, the tokenizer or the rejects."""
    try:
        dataset.tokenizer_data()  # Its library may not be installed.
    except DatasetError as error:
        yield str(error)
    manifest, where = dataset.manifest, dataset.path(MANIFEST)
    described = {feature.key for feature in manifest.features}
    for feature in schema.FEATURES:
        if feature.key not in described:
            yield f"{where}: it does not describe {feature.key}"
    if not manifest.books.balanced:
        yield f"{where}: its books do not balance"
    if manifest.books.written != manifest.num_examples:
        yield f"{where}: its books and its shards count different examples"
    rejects = dataset.path(REJECTS)
    if os.path.isfile(rejects):
        with open(rejects, "rb") as file:
            num_lines = sum(1 for _ in file)
        if num_lines != sum(manifest.books.not_written.values()):
            yield f"{rejects}: not a line for each key that the books say"


def _file_crc32c(path: str) -> str:
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum.update(chunk)
    return str(checksum.digest().hex())
