"""Reads what the dataset has: the keys of its records, in order, and their captions.

Both are in the tables of `samples/`. Records are in the order of their keys' order
hash, so the keys of a range are found by bisection.
"""

import bisect
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from beam_jobs.planning.key_order import NUM_KEY_RANGES, order_of
from beam_jobs.storage.files import crc32c_of, open_file, read_file
from beam_jobs.workspace.element_lines import path_of
from reader.contract import samples, schema
from reader.contract.errors import BuildError
from reader.contract.layout import ShardName, parse_shard_name
from reader.contract.manifest import Manifest
from reader.contract.record import FOOTER, HEADER, parse_example

# What a key may hold that is not UTF-8, or that only looks like it.
_ESCAPED = re.compile("%[89A-F][0-9A-F]")
# Tables kept at once: one of each split, and the next ones.
_TABLES = 8


class ShardRecords:
    """Keys and captions of the records of a shard, in order."""

    def __init__(self, folder: str, name: ShardName, crc32c: str) -> None:
        """Reads the samples table of a shard.

        Args:
            folder: Folder of the dataset.
            name: Name of the shard.
            crc32c: Checksum of the table in the manifest.

        Raises:
            BuildError: The table is damaged.
        """
        self._folder, self._name = folder, name
        self._path = os.path.join(folder, name.samples_file)
        if crc32c_of(self._path) != crc32c:
            raise BuildError(
                f"{self._path} is missing or damaged: repair the dataset with build "
                "--repair, then run the command again"
            )
        table = self._table(samples.KEY, samples.OFFSET, samples.LENGTH)
        self._keys = table[samples.KEY].combine_chunks()
        self._places = table

    def _table(self, *columns: str) -> Any:
        with open_file(self._path) as file:
            return pq.read_table(file, columns=list(columns))

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._keys)

    def key(self, index: int) -> bytes:
        """Returns the key of a record.

        The table shows bytes that are not UTF-8 as `%XX`. A key with such a text is
        read from the record itself.
        """
        text = self._keys[index].as_py()
        return self._stored_key(index) if _ESCAPED.search(text) else path_of(text)

    def _stored_key(self, index: int) -> bytes:
        offset = self._places[samples.OFFSET][index].as_py()
        length = self._places[samples.LENGTH][index].as_py()
        path = os.path.join(self._folder, self._name.file)
        data = read_file(path, offset=offset, at_most=length)
        try:
            (key,) = parse_example(data[HEADER.size : -FOOTER.size], [schema.KEY])[
                schema.KEY
            ]
        except (ValueError, KeyError) as error:
            raise BuildError(
                f"{path}: the record at byte {offset} is damaged ({error}): repair the "
                "dataset with build --repair, then run the command again"
            ) from error
        return bytes(key)

    def captions(self) -> list[list[str]]:
        """Returns the captions of all records."""
        captions: list[list[str]] = self._table(samples.CAPTIONS).column(0).to_pylist()
        return captions

    def in_range(self, key_range: int, seed: int) -> Iterator[bytes]:
        """Yields the keys in a range of the order hash."""

        def first_of(number: int) -> int:
            bound = number * (1 << 64) // NUM_KEY_RANGES
            indices = range(len(self))
            return bisect.bisect_left(
                indices, bound, key=lambda index: order_of(self.key(index), seed)
            )

        yield from map(self.key, range(first_of(key_range), first_of(key_range + 1)))


@functools.lru_cache(_TABLES)
def shard_records(folder: str, name: ShardName, crc32c: str) -> ShardRecords:
    """Returns the records of a shard, read once in a while in each process."""
    return ShardRecords(folder, name, crc32c)


class BaseRecords:
    """Reads the records of a finished dataset."""

    def __init__(self, folder: str, manifest: Manifest) -> None:
        """Initializes the reader.

        Args:
            folder: Folder of the dataset.
            manifest: Its manifest.
        """
        self._folder = folder
        self._manifest = manifest
        self._seed = int(manifest.config["seed"])

    def shard(self, name: ShardName) -> ShardRecords:
        """Returns the records of a shard.

        Raises:
            BuildError: The table of the shard is damaged.
        """
        return shard_records(
            self._folder, name, self._manifest.files[name.samples_file]
        )

    def splits_of(self, key_range: int) -> dict[bytes, str]:
        """Returns all keys of a range of the order hash, as `{key: split}`."""
        return {
            key: split.name
            for split in self._manifest.splits
            for number in shards_of_key_range(key_range, len(split.shards))
            for key in self.shard(
                ShardName(split.name, number, len(split.shards))
            ).in_range(key_range, self._seed)
        }

    def some_key(self) -> bytes:
        """Returns a key of the dataset, for messages."""
        names = map(parse_shard_name, (s.file for s in self._manifest.shards))
        shards = (self.shard(name) for name in names if name is not None)
        return next(shard.key(0) for shard in shards if len(shard))


def shards_of_key_range(key_range: int, num_shards: int) -> range:
    """Returns the numbers of the shards of a split that overlap a key range."""
    first = key_range * num_shards // NUM_KEY_RANGES
    last = -(-(key_range + 1) * num_shards // NUM_KEY_RANGES)
    return range(first, last)
