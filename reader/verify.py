"""`diptych verify`: is everything there, and is it what was written?"""

import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c
import numpy as np

from reader.catalog import Dataset, open_dataset
from reader.contract import schema
from reader.contract.errors import DatasetError
from reader.contract.layout import BLOCK_RECORDS, BLOCKS, REJECTS, parse_shard_name
from reader.contract.manifest import Shard
from reader.contract.record import FRAMING_BYTES, crc32c_hex, parse_example
from reader.shards import Record, read_shard

_CHUNK_BYTES = 1 << 20


class Report(NamedTuple):
    """What was checked, and all that is wrong.

    Attributes:
        num_shards: Checked.
        num_examples: Read and checked.
        problems: A line each.
    """

    num_shards: int
    num_examples: int
    problems: list[str]


def verify(folder: str) -> Report:
    """Checks every checksum, count and key of a dataset, and its side files.

    Raises:
        DatasetError: There is no finished dataset.
    """
    dataset = open_dataset(folder)
    problems: list[str] = []
    num_examples = 0
    offsets: list[int] = []
    keys: set[bytes] = set()
    for shard in dataset.manifest.shards:
        checked = _ShardCheck(dataset, shard)
        problems += checked.problems()
        num_examples += len(checked.offsets)
        offsets += checked.offsets[::BLOCK_RECORDS]
        for key in checked.keys:
            if key in keys:
                problems.append(f"key {schema.display_path(key)} is there twice")
            keys.add(key)
    problems += _check_side_files(dataset, offsets)
    return Report(len(dataset.manifest.shards), num_examples, problems)


class _ShardCheck:
    """Reads one shard and gathers what is wrong with it."""

    def __init__(self, dataset: Dataset, shard: Shard) -> None:
        self._dataset = dataset
        self._shard = shard
        self._path = dataset.path(shard.file)
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        self.keys: list[bytes] = []

    def problems(self) -> list[str]:
        try:
            return list(self._problems())
        except FileNotFoundError as error:
            return [f"{error.filename} is missing"]

    def _problems(self) -> Iterator[str]:
        if _file_crc32c(self._path) != self._shard.crc32c:
            yield f"{self._path}: its checksum is not that of the manifest"
        try:
            for record in read_shard(self._path):
                yield from self._check_record(record)
        except DatasetError as error:
            yield str(error)
        if len(self.offsets) != self._shard.num_examples:
            yield (
                f"{self._path}: {len(self.offsets)} records can be read, not "
                f"{self._shard.num_examples} as the manifest says"
            )
        yield from self._check_index()

    def _check_record(self, record: Record) -> Iterator[str]:
        self.offsets.append(record.offset)
        self.lengths.append(len(record.data) + FRAMING_BYTES)
        where = f"{self._path} at byte {record.offset}"
        try:
            example = parse_example(record.data)
        except ValueError as error:
            yield f"{where}: {error}"
            return
        missing = [
            f.key for f in self._dataset.manifest.features if f.key not in example
        ]
        if missing:
            yield f"{where}: no feature {', '.join(missing)}"
            return
        (key,) = example[schema.KEY]
        self.keys.append(key)
        if sum(example[schema.TOKEN_LENGTHS]) != len(example[schema.TOKEN_IDS]):
            yield f"{where}: caption/lengths do not add up to caption/ids"

    def _check_index(self) -> Iterator[str]:
        name = parse_shard_name(self._shard.file)
        if name is None:
            yield f"{self._shard.file}: not a name of a shard"
            return
        path = self._dataset.path(name.index_file)
        rows = zip(self.offsets, self.lengths, strict=True)
        expected = "".join(f"{offset} {length}\n" for offset, length in rows)
        with open(path, encoding="ascii", errors="replace") as file:
            if file.read() != expected:
                yield f"{path}: does not index the records of {self._shard.file}"
        samples = self._dataset.path(name.samples_file)
        if not os.path.exists(samples):
            yield f"{samples} is missing"


def _check_side_files(dataset: Dataset, blocks: list[int]) -> Iterator[str]:
    try:
        dataset.tokenizer()
    except DatasetError as error:
        yield str(error)
    manifest = dataset.manifest
    path = dataset.path(BLOCKS)
    data = _read_or_none(path)
    if data is None:
        yield f"{path} is missing"
    elif crc32c_hex(data) != manifest.blocks_crc32c:
        yield f"{path}: its checksum is not that of the manifest"
    elif data != np.asarray(blocks, "<u8").tobytes():
        yield f"{path}: does not index the shards"
    if not manifest.books.balanced:
        yield "manifest.json: its books do not balance"
    if manifest.books.written != manifest.num_examples:
        yield "manifest.json: its books and its shards count different examples"
    rejects = _read_or_none(dataset.path(REJECTS))
    not_written = sum(manifest.books.not_written.values())
    if rejects is None:
        yield f"{dataset.path(REJECTS)} is missing"
    elif rejects.count(b"\n") != not_written:
        yield f"{dataset.path(REJECTS)}: not a line for each of {not_written} keys"


def _read_or_none(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _file_crc32c(path: str) -> str:
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        for _ in itertools.takewhile(len, checksum.consume(file, _CHUNK_BYTES)):
            pass
    return str(checksum.digest().hex())
