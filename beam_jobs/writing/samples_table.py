"""`samples/`: a table with a row per record, in order, for people and other tools."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.config.columns import Column
from beam_jobs.encoding.example import Example
from reader.contract.schema import EXTRA, Feature, display_path

_FIELDS = [
    ("key", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int64()),
    ("source", pa.string()),
    ("caption_source", pa.string()),
    ("original_width", pa.int32()),
    ("original_height", pa.int32()),
    ("original_format", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("actions", pa.list_(pa.string())),
    ("captions", pa.list_(pa.string())),
    ("num_tokens", pa.list_(pa.int32())),
    ("sha256", pa.string()),
]
_TYPES = {"int64": pa.int64(), "float32": pa.float32(), "bytes": pa.string()}


def sample_row(
    example: Example, offset: int, length: int, columns: Sequence[Column]
) -> dict[str, Any]:
    """Returns the row of a record that lies at `offset` and takes `length` bytes."""
    image = example.image
    values = zip(columns, example.pair.values, strict=True)
    return {column.feature.key: value for column, value in values} | {
        "key": display_path(example.pair.key),
        "offset": offset,
        "length": length,
        "source": display_path(example.pair.image.path),
        "caption_source": display_path(example.pair.caption.path),
        "original_width": image.source_width,
        "original_height": image.source_height,
        "original_format": image.source_format,
        "width": image.width,
        "height": image.height,
        "actions": image.actions,
        "captions": example.captions.texts,
        "num_tokens": example.num_tokens,
        "sha256": image.sha256,
    }


def dump_samples(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> bytes:
    """Returns rows as a Parquet file."""
    schema = samples_schema(column.feature for column in columns)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def samples_schema(features: Iterable[Feature]) -> pa.Schema:
    """Returns the columns of the table, of records that hold some features."""
    extras = [
        (feature.key, _type_of(feature))
        for feature in features
        if feature.key.startswith(EXTRA)
    ]
    return pa.schema([*_FIELDS, *extras])


def _type_of(feature: Feature) -> pa.DataType:
    single = _TYPES[feature.dtype]
    return pa.list_(single, *feature.shape) if feature.shape else single
