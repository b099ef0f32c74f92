"""`samples/`: a table with a row per record, in order, for people and other tools."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.examples import Example
from reader.contract.schema import display_path

SCHEMA = pa.schema(
    [
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
)


def sample_row(example: Example, offset: int, length: int) -> dict[str, Any]:
    """Returns the row of a record that lies at `offset` and takes `length` bytes."""
    image = example.image
    return {
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
        "captions": example.captions,
        "num_tokens": example.num_tokens,
        "sha256": image.sha256,
    }


def dump_samples(rows: Sequence[dict[str, Any]]) -> bytes:
    """Returns rows as a Parquet file."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()
