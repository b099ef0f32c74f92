"""Writes layers from dictionaries, for tests, with no code of jobs."""

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pyarrow
import tensorflow as tf
from pyarrow import parquet

from reader.contract.additions.base_shard import BaseShard
from reader.contract.additions.layer import (
    LAYER,
    LayerAccounting,
    LayerManifest,
    caption_features,
    column_key,
    dump_layer,
    samples_columns,
)
from reader.contract.index import dump_text_index, index_files
from reader.contract.layout import SHARD_SUFFIX
from reader.contract.manifest import Shard, TokenizerSpec
from reader.contract.samples import ColumnType
from reader.contract.schema import Dtype, Feature, display_path
from reader.contract.statistics import Statistics, Tally

KEY = "image/source_id"
_ARROW = {
    "string": pyarrow.string(),
    "int32": pyarrow.int32(),
    "int64": pyarrow.int64(),
    "float": pyarrow.float32(),
}


class Captions(NamedTuple):
    """Captions of a layer.

    Attributes:
        texts: Captions of each key.
        encode: Function that returns the token ids of a caption.
        spec: What `layer.json` states of the tokenizer.
        file: Bytes of the tokenizer's file.
        replaces: Whether they replace those of the dataset.
    """

    texts: Mapping[bytes, Sequence[str]]
    encode: Callable[[str], Sequence[int]]
    spec: TokenizerSpec
    file: bytes
    replaces: bool = True


def write_layer(
    dataset: Path,
    name: str,
    columns: Mapping[str, tuple[Dtype, tuple[int | None, ...]]] | None = None,
    rows: Mapping[bytes, Mapping[str, Any]] | None = None,
    captions: Captions | None = None,
    folder: Path | None = None,
) -> Path:
    """Writes a layer of a dataset; returns its folder.

    Args:
        dataset: Folder of the dataset.
        name: Name of the layer.
        columns: Dtype and shape of each column.
        rows: Values of the columns by key; other records have nothing.
        captions: Captions of the layer.
        folder: Where to write; by default in the dataset.
    """
    output, rows = folder or dataset / "layers" / name, rows or {}
    features = () if captions is None else caption_features(name)
    features += tuple(
        Feature(column_key(name, column), dtype, shape, "extra")
        for column, (dtype, shape) in (columns or {}).items()
    )
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    base, shards, lengths, files, statistics = [], [], [], {}, {}
    written = 0
    for split in manifest["splits"]:
        found: list[list[list[int]]] = []
        for shard in split["shards"]:
            base.append(
                BaseShard(shard["file"], shard["num_examples"], shard["crc32c"])
            )
            keys = _keys(dataset / shard["file"])
            records, cells = [], []
            for key in keys:
                record, of_key = _record(name, features, key, rows, captions)
                records.append(record)
                cells.append(of_key)
                if captions is not None and key in captions.texts:
                    tokens = map(captions.encode, captions.texts[key])
                    found.append(list(map(list, tokens)))
            written += sum(map(bool, records))
            framed = [len(record) + 16 for record in records]
            lengths.append(np.array(framed, np.uint32))
            offsets = [sum(framed[:n]) for n in range(len(framed))]
            stem = shard["file"].removesuffix(SHARD_SUFFIX)
            data = b"".join(map(_framed, records))
            shards.append(
                Shard(
                    file=shard["file"],
                    num_examples=len(keys),
                    num_bytes=len(data),
                    crc32c=_crc(data),
                )
            )
            _put(output / shard["file"], data)
            files[f"index/{shard['file']}.idx"] = dump_text_index(offsets, framed)
            for row, key, offset, length in zip(
                cells, keys, offsets, framed, strict=True
            ):
                row |= {"key": display_path(key), "offset": offset, "length": length}
            files[f"samples/{stem}.parquet"] = _table(features, cells)
        counts = [len(of_record) for of_record in found]
        tokens = [len(ids) for of_record in found for ids in of_record]
        ids = [each for of_record in found for row in of_record for each in row]
        statistics[split["name"]] = Statistics(
            captions=Tally.of(counts),
            caption_tokens=Tally.of(tokens),
            unknown_tokens=ids.count(captions.spec.unknown_id) if captions else 0,
            one_token_captions=tokens.count(1),
            no_token_captions=tokens.count(0),
        )
    files |= index_files(lengths)
    files["rejects.jsonl"] = b""
    if captions is not None:
        files[f"tokenizer/{captions.spec.file}"] = captions.file
    for file, data in files.items():
        _put(output / file, data)
    num = sum(shard.num_examples for shard in base)
    layer = LayerManifest(
        name=name,
        base=tuple(base),
        features=features,
        tokenizer=None if captions is None else captions.spec,
        replaces=("captions",) if captions is not None and captions.replaces else (),
        shards=tuple(shards),
        statistics=statistics if captions is not None else {},
        accounting=LayerAccounting(
            found=written,
            written=written,
            not_written={},
            records_without=num - written,
        ),
        files={file: _crc(data) for file, data in files.items()},
        fingerprints={},
        config={},
        versions={},
    )
    _put(output / LAYER, dump_layer(layer))
    return output


def _keys(shard: Path) -> list[bytes]:
    records = tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()
    examples = map(tf.train.Example.FromString, records)
    return [each.features.feature[KEY].bytes_list.value[0] for each in examples]


def _record(
    name: str,
    features: Sequence[Feature],
    key: bytes,
    rows: Mapping[bytes, Mapping[str, Any]],
    captions: Captions | None,
) -> tuple[bytes, dict[str, Any]]:
    """Returns the record of a key, and its row in `samples/` without the place."""
    values: dict[str, Any] = {}
    cells: dict[str, Any] = {}
    for column, value in rows.get(key, {}).items():
        values[f"{name}/{column}"] = value if isinstance(value, list) else [value]
        cells[f"{name}/{column}"] = value
    if captions is not None and key in captions.texts:
        texts = captions.texts[key]
        ids = [list(captions.encode(text)) for text in texts]
        values[f"{name}/caption"] = texts
        values[f"{name}/ids"] = [each for of_text in ids for each in of_text]
        values[f"{name}/lengths"] = list(map(len, ids))
        cells |= {"captions": texts, "num_tokens": list(map(len, ids))}
    if not values:
        return b"", cells
    example = tf.train.Example()
    for feature in features:
        if feature.key in values:
            _set(example.features.feature[feature.key], feature, values[feature.key])
    return example.SerializeToString(deterministic=True), cells


def _set(into: Any, feature: Feature, values: list[Any]) -> None:
    if feature.dtype == "float16":
        into.bytes_list.value.append(np.array(values, "<f2").tobytes())
    elif feature.dtype == "bytes":
        into.bytes_list.value.extend(str(value).encode() for value in values)
    elif feature.dtype == "int64":
        into.int64_list.value.extend(values)
    else:
        into.float_list.value.extend(values)


def _table(features: tuple[Feature, ...], rows: Sequence[dict[str, Any]]) -> bytes:
    columns = samples_columns(features)
    schema = pyarrow.schema([(name, _arrow(of)) for name, of in columns.items()])
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _arrow(column: ColumnType) -> pyarrow.DataType:
    value = _ARROW[column.value]
    if not column.is_list:
        return value
    return pyarrow.list_(value, -1 if column.size is None else column.size)


def _framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _masked(length) + record + _masked(record)


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


def _put(path: Path, data: bytes) -> None:
    os.makedirs(path.parent, exist_ok=True)
    path.write_bytes(data)
