"""Writes the Parquet file in `samples/` with one row per record of a shard."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.config.columns import Column
from beam_jobs.config.row_filter import arrow_types
from beam_jobs.elements import facts_of
from beam_jobs.encoding.example import Example
from reader.contract import samples
from reader.contract.samples import ColumnType


def sample_row(
    example: Example, offset: int, length: int, columns: Sequence[Column]
) -> dict[str, Any]:
    """Returns the row of a record, as `{column: value}`.

    Args:
        example: Example stored in the record.
        offset: Byte offset of the record in its shard.
        length: Size of the record in bytes, framing included.
        columns: Source columns that are copied to the dataset.
    """
    # The values of columns that only `where` uses come last.
    values = zip(columns, example.pair.values[: len(columns)], strict=True)
    return {
        **{column.feature.key: value for column, value in values},
        **facts_of(example.pair),
        **example.image.facts,
        samples.OFFSET: offset,
        samples.LENGTH: length,
        samples.CAPTIONS: example.captions.texts,
        samples.NUM_TOKENS: example.num_tokens,
        samples.CAPTION_NAMES: example.captions.names,
    }


def dump_samples(
    rows: Sequence[dict[str, Any]], types: Mapping[str, ColumnType]
) -> bytes:
    """Serializes rows to the bytes of a Parquet file.

    Args:
        rows: Rows, as `{column: value}`; a missing value is null.
        types: Columns in order, as `{name: type}`.
    """
    schema = pa.schema([(name, _arrow_type(type_)) for name, type_ in types.items()])
    table = pa.Table.from_pylist(list(rows), schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def _arrow_type(column: ColumnType) -> pa.DataType:
    value = arrow_types()[column.value]
    if not column.is_list:
        return value
    return pa.list_(value) if column.size is None else pa.list_(value, column.size)
