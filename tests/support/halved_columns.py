"""Stores the columns of floats of a built dataset as halves."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.writing.tfrecord_writer import TFRecordWriter
from reader.contract import samples
from reader.contract.index import index_files
from reader.contract.layout import MANIFEST, parse_shard_name
from reader.contract.manifest import Manifest, Shard, dump_manifest, parse_manifest
from reader.contract.record import crc32c_hex, parse_features, serialize_example
from reader.contract.schema import Feature
from reader.storage.tfrecord_file import read_shard


def halve_columns(folder: Path) -> None:
    """Rewrites a dataset in place, with its accounting of bytes."""
    manifest = parse_manifest((folder / MANIFEST).read_bytes(), str(folder))
    features = tuple(map(_halved, manifest.features))
    files, lengths = dict(manifest.files), []
    splits = []
    for split in manifest.splits:
        shards = []
        for shard in split.shards:
            shard, of_shard = _rewrite(folder, shard, manifest, features, files)
            shards.append(shard)
            lengths.append(np.array(of_shard, np.uint32))
        splits.append(dataclasses.replace(split, shards=tuple(shards)))
    for name, data in index_files(lengths).items():
        _put(folder, name, data, files)
    manifest = dataclasses.replace(
        manifest, features=features, splits=tuple(splits), files=files
    )
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))


def _halved(feature: Feature) -> Feature:
    is_float = feature.dtype == "float32"
    return feature._replace(dtype="float16") if is_float else feature


def _rewrite(
    folder: Path,
    shard: Shard,
    manifest: Manifest,
    features: tuple[Feature, ...],
    files: dict[str, str],
) -> tuple[Shard, list[int]]:
    name, file = parse_shard_name(shard.file), io.BytesIO()
    writer = TFRecordWriter(file.write)
    for record in read_shard(str(folder / shard.file)):
        values = parse_features(record.data, manifest.features)
        writer.write(
            serialize_example({f.key: (f.dtype, values[f.key]) for f in features})
        )
    (folder / shard.file).write_bytes(file.getvalue())
    _put(folder, name.index_file, writer.text_index(), files)
    table = pq.read_table(folder / name.samples_file)
    for column, values in (
        (samples.OFFSET, writer.offsets),
        (samples.LENGTH, writer.lengths),
    ):
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array(values, pa.int64()))
    data = io.BytesIO()
    pq.write_table(table, data)
    _put(folder, name.samples_file, data.getvalue(), files)
    new = dataclasses.replace(shard, num_bytes=writer.num_bytes, crc32c=writer.crc32c)
    return new, writer.lengths


def _put(folder: Path, name: str, data: bytes, files: dict[str, str]) -> None:
    (folder / name).write_bytes(data)
    files[name] = crc32c_hex(data)
