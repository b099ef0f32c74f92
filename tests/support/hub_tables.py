"""Parquet tables with pictures in them, as `datasets` writes them for the hub."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Picture = dict[str, Any]


def schema_of(**others: pa.DataType) -> pa.Schema:
    """The schema, with the metadata by which `datasets` knows its own columns."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {
        name: {"dtype": str(dtype), "_type": "Value"} for name, dtype in others.items()
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema({"image": PICTURE, **others}, metadata=metadata)


def write_table(
    path: Path,
    pictures: Sequence[Picture | None],
    texts: Iterable[str],
    group: int = 100,
    **more: Any,
) -> None:
    """Writes a table with the columns image and text, in row groups of 100."""
    table = pa.table(
        {"image": list(pictures), "text": list(texts)}, schema_of(text=pa.string())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group, **more)
