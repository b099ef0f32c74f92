"""Opens foreign TFRecords, which are TFRecords from other tools, as a record source."""

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence

import numpy as np

from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BLOCK_RECORDS, MANIFEST
from reader.datasets.foreign_files import (
    NUM_INSPECTED,
    check_numbers,
    compression_of,
    first_compressed_records,
    scan,
    some_records,
)
from reader.datasets.foreign_schema import record_schema_of_records
from reader.datasets.manifest_dataset import no_dataset
from reader.datasets.record_index import ShardFile
from reader.datasets.record_schema import RecordSchema
from reader.datasets.record_source import RecordSource
from reader.shuffle.arrays import Int64s
from reader.storage.files import list_folder

_LOG = logging.getLogger("reader")

# coco_captions-train.tfrecord-00000-of-00128
_OF_TFDS = re.compile(r".+-(?P<split>\w+)\.tfrecord-[0-9]{5}-of-[0-9]{5}")


def no_pattern(folder: str) -> DatasetError:
    """Returns the error for a folder that is not a finished Diptych dataset.

    If TensorFlow Datasets wrote its files, the message suggests a pattern for them.
    """
    splits = {m["split"] for m in map(_OF_TFDS.fullmatch, list_folder(folder)) if m}
    if not splits:
        return no_dataset(folder)
    patterns = " or ".join(f'"{folder}/*-{s}.tfrecord-*"' for s in sorted(splits))
    return DatasetError(
        f"no {MANIFEST} in {folder}: TensorFlow Datasets wrote these files. Pass a "
        f"pattern, such as {patterns}"
    )


def open_foreign_files(
    paths: list[str],
    features: Mapping[str, str] | None,
    tolerant: bool,
    compressed: bool,
) -> RecordSource:
    """Returns the records of files from other tools.

    Args:
        paths: Paths of the files.
        features: Feature keys, by name.
        tolerant: Whether to accept damaged files, such as truncated ones.
        compressed: Whether to accept compressed files.

    Raises:
        DatasetError: A file is damaged, or no file holds a record.
        UsageError: The files cannot be read as one, or a feature is not found.
    """
    check_numbers(paths)
    kinds = {compression_of(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"the {len(paths)} matched files (the first is {paths[0]}) mix compressed "
            "and uncompressed files, or GZIP and ZLIB: read them separately"
        )
    name, (compression,) = paths[0], kinds
    if compression and not compressed:
        raise UsageError(
            f"{name} is compressed ({compression}), so random access to its records is "
            "not possible: write it uncompressed (images do not shrink further)"
        )
    if compression:
        return _of_compressed(paths, features, compression)
    files = [_scanned(path, tolerant) for path in paths]
    records = some_records(files, tolerant=tolerant)
    if not records:
        more = f" and {len(paths) - 1} other files hold" if paths[1:] else " holds"
        raise DatasetError(f"{name}{more} no record")
    record_schema = record_schema_of_records(records, features, name)
    return RecordSource(
        name=name,
        record_schema=record_schema,
        shards=_holding(files, record_schema),
        block_offsets=np.concatenate(
            [file.offsets()[:-1:BLOCK_RECORDS] for file in files]
        ),
    )


def _holding(
    files: Sequence[ShardFile], record_schema: RecordSchema
) -> tuple[ShardFile, ...]:
    features = record_schema.features
    return tuple(dataclasses.replace(file, features=features) for file in files)


def _scanned(path: str, tolerant: bool) -> ShardFile:
    file, problem = scan(path)
    if problem is not None:
        if not tolerant:
            raise DatasetError(f'{problem}: restore it, or pass on_corrupt="skip"')
        _LOG.warning("%s: the rest of the file is lost", problem)
    return file


def _of_compressed(
    paths: list[str], features: Mapping[str, str] | None, compression: str
) -> RecordSource:
    records = first_compressed_records(paths, compression, NUM_INSPECTED)
    none: Int64s = np.zeros(0, np.int64)
    return RecordSource(
        name=paths[0],
        record_schema=record_schema_of_records(records, features, paths[0]),
        shards=tuple(ShardFile(path, 0, 0, "", lambda: none) for path in paths),
        block_offsets=none,
        compression=compression,
    )
