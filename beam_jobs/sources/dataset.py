"""Source `dataset`: a finished Diptych dataset, whose images are kept as stored.

Listing reads the samples tables alone, with a task for each shard. The image of an
entry is a record, read in place by its byte offset like a member of a tar.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.config.columns import BadCell, Column, Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.source_datasets import source_manifests
from beam_jobs.elements import (
    Aside,
    BadInput,
    Entry,
    ListTask,
    SourceFile,
    SourceShard,
    StoredImage,
)
from beam_jobs.inputs.stored_records import key_of_record
from beam_jobs.sources.row_entries import split_named
from beam_jobs.storage.files import absolute, read_file, status_of
from reader.contract import samples
from reader.contract.errors import BuildError, UsageError
from reader.contract.layout import parse_shard_name
from reader.contract.manifest import ImageSpec, Manifest
from reader.contract.record import crc32c_hex
from reader.contract.schema import EXTRA, Feature

# All captions of a key are in one record.
ONE_CAPTION_PER_KEY = True
CAPTIONS_IN_FILES = False

# A row with an embedding takes tens of kilobytes as Python objects.
_ROWS_PER_BATCH = 1024
_COLUMNS = (
    samples.KEY,
    samples.OFFSET,
    samples.LENGTH,
    samples.SOURCE,
    samples.CAPTION_SOURCE,
    samples.ORIGINAL_WIDTH,
    samples.ORIGINAL_HEIGHT,
    samples.ORIGINAL_FORMAT,
    samples.WIDTH,
    samples.HEIGHT,
    samples.ACTIONS,
    samples.CAPTIONS,
    samples.SHA256,
)
# What stands in a key's text for a byte that is not UTF-8, or for itself.
_ESCAPED = re.compile("%[89A-F][0-9A-F]")

_Row = dict[str, Any]


def check(config: JobConfig) -> None:
    """Checks the datasets and the columns to read, before the job starts.

    Raises:
        UsageError: A folder holds no finished dataset or is the output, or a dataset
            lacks a column.
    """
    wanted = [column.name for column in config.columns_read]
    if config.split_column is not None:
        wanted.append(config.split_column)
    for folder, manifest in zip(
        config.paths("dataset"), source_manifests(config), strict=True
    ):
        names = [feature.key.removeprefix(EXTRA) for feature in _extras(manifest)]
        for name in wanted:
            if name not in names:
                raise UsageError(
                    f'--dataset={folder}: no column "{name}" among '
                    f"{', '.join(names) or 'none'}"
                )


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the folders of the datasets."""
    return tuple(absolute(os.fsencode(folder)) for folder in config.paths("dataset"))


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per shard."""
    tasks = []
    folders = zip(roots(config), source_manifests(config), strict=True)
    for number, (root, manifest) in enumerate(folders):
        for shard in manifest.shards:
            stated = SourceShard(
                image=manifest.image,
                features=_extras(manifest),
                samples_crc32c=manifest.files[_samples_of(shard.file)],
            )
            path = os.fsencode(shard.file)
            tasks.append(ListTask("dataset", root, path, (number,), shard=stated))
    return tasks


def _extras(manifest: Manifest) -> tuple[Feature, ...]:
    return tuple(each for each in manifest.features if each.key.startswith(EXTRA))


def _samples_of(shard: str) -> str:
    name = parse_shard_name(shard)
    assert name is not None, shard
    return name.samples_file


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one shard, without reading its images.

    Raises:
        BuildError: The samples table or the shard is missing or damaged.
    """
    shard = _Shard(task, config)
    for row in _rows(task, config):
        yield shard.entry_of(row)


def _rows(task: ListTask, config: JobConfig) -> Iterator[_Row]:
    path = os.path.join(os.fsdecode(task.root), _samples_of(os.fsdecode(task.path)))
    try:
        data = read_file(path)
    except FileNotFoundError:
        raise BuildError(f"{path} is missing: {_REPAIR}") from None
    assert task.shard is not None
    if crc32c_hex(data) != task.shard.samples_crc32c:
        raise BuildError(
            f"{path} is damaged (its checksum is not that of the manifest): {_REPAIR}"
        )
    extras = [column.feature.key for column in config.columns_read]
    if config.split_column is not None:
        extras.append(f"{EXTRA}{config.split_column}")
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    names = {samples.CAPTION_NAMES} & {*file.schema_arrow.names}
    columns = [*dict.fromkeys((*_COLUMNS, *names, *extras))]
    for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns, use_threads=False):
        yield from batch.to_pylist()


_REPAIR = "repair the dataset with diptych build --repair, or restore it from a copy"


class _Shard:
    """Creates the entries of one shard."""

    def __init__(self, task: ListTask, config: JobConfig) -> None:
        assert task.shard is not None
        self._config = config
        self._path = task.path
        self._root = task.roots[0]
        self._file = os.path.join(task.root, task.path)
        try:
            self._version = status_of(self._file).version
        except FileNotFoundError:
            shard = os.fsdecode(self._file)
            raise BuildError(f"{shard} is missing: {_REPAIR}") from None
        name = parse_shard_name(os.fsdecode(task.path))
        self._split = name.split if name and config.keeps_splits else None
        self._stored = {feature.key: feature for feature in task.shard.features}
        self._format = task.shard.image.format
        self._resize, self._encode = _changes(task.shard.image, config.image_spec)

    def entry_of(self, row: _Row) -> Entry:
        """Returns the entry of a row; what cannot be used becomes its flaw.

        Until its key is known, the entry has one of its own.
        """
        entry = Entry(
            key=b"%b:%d" % (self._path, row[samples.OFFSET]),
            origin=row[samples.CAPTION_SOURCE].encode(),
            rank=self._root,
            image=SourceFile(
                path=row[samples.SOURCE].encode(),
                size=row[samples.LENGTH],
                version=self._version,
                root=self._root,
                archive=self._path,
                offset=row[samples.OFFSET],
                stored=self._stored_image(row),
            ),
            texts=tuple(row[samples.CAPTIONS]),
            names=self._names_of(row),
        )
        try:
            entry = entry._replace(key=self._key_of(row))
            return entry._replace(
                values=tuple(
                    self._value_of(column, row) for column in self._config.columns_read
                ),
                split=self._split_of(row),
            )
        except BadInput as error:
            return entry._replace(flaw=(error.reason, error.detail))

    def _names_of(self, row: _Row) -> tuple[str, ...] | None:
        """Returns the names of the captions; empty ones if only others have names."""
        if not self._config.names_of_captions:
            return None
        names = row.get(samples.CAPTION_NAMES) or [""] * len(row[samples.CAPTIONS])
        return tuple(names)

    def _stored_image(self, row: _Row) -> StoredImage:
        actions = tuple(row[samples.ACTIONS])
        return StoredImage(
            format=self._format,
            height=row[samples.HEIGHT],
            width=row[samples.WIDTH],
            source_format=row[samples.ORIGINAL_FORMAT],
            source_height=row[samples.ORIGINAL_HEIGHT],
            source_width=row[samples.ORIGINAL_WIDTH],
            sha256=row[samples.SHA256],
            actions=actions,
            resize=self._resize,
            # Without any action, the coded data of the original was kept.
            encode=self._encode and bool(actions),
        )

    def _key_of(self, row: _Row) -> bytes:
        """Returns the key, from the record if the text may stand for other bytes."""
        if not _ESCAPED.search(row[samples.KEY]):
            key: bytes = row[samples.KEY].encode()
            return key
        offset, length = row[samples.OFFSET], row[samples.LENGTH]
        return key_of_record(read_file(self._file, offset=offset, at_most=length))

    def _value_of(self, column: Column, row: _Row) -> Value:
        feature = column.feature
        value = row[feature.key]
        stored = self._stored[feature.key]
        if (stored.dtype, stored.shape) == (feature.dtype, feature.shape):
            return tuple(value) if isinstance(value, list) else value
        try:
            return column.value_of(value)
        except BadCell as error:
            raise BadInput("bad_value", f"column {column.name}: {error}") from error

    def _split_of(self, row: _Row) -> str | None:
        column = self._config.split_column
        if column is None:
            return self._split
        return split_named({column: row[f"{EXTRA}{column}"]}, column)


def _changes(old: ImageSpec, new: ImageSpec) -> tuple[bool, bool]:
    """Returns whether settings of the size differ, and those of the encoder."""
    as_before = dataclasses.replace(
        new, quality=old.quality, subsampling=old.subsampling, format=old.format
    )
    coding = [(spec.quality, spec.subsampling) for spec in (old, new)]
    return as_before != old, new.format == "jpeg" and coding[0] != coding[1]
