"""Reads the tables of `samples/`: the records' data without the images."""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from reader.contract.additions.layer import present_feature
from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import import_library
from reader.contract.layout import parse_shard_name
from reader.contract.record import FRAMING_BYTES
from reader.contract.samples import LENGTH, WIDTH, ColumnType, column_type
from reader.datasets.record_index import ShardFile
from reader.datasets.record_source import RecordSource
from reader.storage.files import begin_reading, is_remote, open_file, read_bytes

_Table = TypeVar("_Table")
# Tables in buckets that are read at the same time, and are in memory together.
_READ_TOGETHER = 16


def read_samples(source: RecordSource) -> Any:
    """Returns a `pyarrow.Table` with one row per record, in record order.

    The columns of layers that are read with the records are the last ones.

    Raises:
        DatasetError: As for `read_table`.
        UsageError: As for `read_table`.
    """
    shards = with_layers(source)
    tables = [get() for get in readings(lambda n: read_joined(*shards[n]), source)]
    pyarrow = import_library("pyarrow", "samples", "pyarrow")
    return pyarrow.concat_tables(tables, promote_options="default")


def readings(
    read: Callable[[int], _Table], source: RecordSource
) -> Iterator[Callable[[], _Table]]:
    """Yields for each shard a function that returns its table, or raises.

    Several tables in a bucket are read at the same time.

    Args:
        read: Function that reads the table of a shard, by the shard's number.
        source: Source of the shards.
    """
    paths = [shard.path for shard in source.shards]
    numbers = range(len(paths))
    for begin in numbers[::_READ_TOGETHER]:
        some = numbers[begin : begin + _READ_TOGETHER]
        yield from [begin_reading(paths[number], read, number) for number in some]


def with_layers(source: RecordSource) -> list[tuple[ShardFile, Sequence[ShardFile]]]:
    """Returns each shard of a source, and the shards of its layers."""
    of_layers = zip(*(layer.shards for layer in source.layers), strict=True)
    layers = list(of_layers) or [()] * len(source.shards)
    return list(zip(source.shards, layers, strict=True))


def added_columns(layer: ShardFile) -> dict[str, ColumnType]:
    """Returns the columns that a shard of a layer adds, `{name: type}`."""
    present = present_feature(_name_of(layer))
    return {
        feature.key: column_type(feature)
        for feature in (*layer.features.values(), present)
        if feature.role == "extra"
    }


def _name_of(layer: ShardFile) -> str:
    """Returns the name of the layer, with which the keys of its features begin."""
    return next(iter(layer.features)).partition("/")[0]


def _read_added(layer: ShardFile, columns: Sequence[str]) -> Any:
    """Returns columns that a shard of a layer adds, of which one is not stored."""
    present = present_feature(_name_of(layer)).key
    if present not in columns:
        return read_table(layer, columns)
    stored = [name for name in columns if name != present]
    table = read_table(layer, [*stored, LENGTH])
    from pyarrow import compute, int64

    # A record with nothing added has no bytes.
    is_present = compute.greater(table[LENGTH], FRAMING_BYTES)
    table = table.drop_columns([LENGTH])
    return table.append_column(present, is_present.cast(int64()))


def read_joined(
    shard: ShardFile,
    layers: Sequence[ShardFile],
    columns: Sequence[str] | None = None,
) -> Any:
    """Returns the table of one shard with the columns of layers, or some of these.

    Args:
        shard: Shard of a dataset.
        layers: Shards of layers for the same records.
        columns: Columns to read; None for all.

    Raises:
        DatasetError: As for `read_table`.
        UsageError: As for `read_table`.
    """
    added = [
        _read_added(layer, names)
        for layer in layers
        if (names := _among(columns, added_columns(layer)))
    ]
    found = {name for each in added for name in each.column_names}
    own = columns and [name for name in columns if name not in found]
    # A table without columns would have no rows.
    table = read_table(shard, [WIDTH] if own == [] else own)
    for each in added:
        for name in each.column_names:
            table = table.append_column(name, each[name])
    return table


def _among(columns: Sequence[str] | None, known: Mapping[str, object]) -> list[str]:
    return [name for name in known if columns is None or name in columns]


def read_table(shard: ShardFile, columns: Sequence[str] | None = None) -> Any:
    """Returns the table of one shard, or some of its columns.

    Raises:
        DatasetError: The table is missing or damaged.
        UsageError: Pyarrow is not installed, or the shard is a foreign TFRecord file.
    """
    name = parse_shard_name(os.path.basename(shard.path))
    if name is None or not shard.has_manifest:
        raise UsageError(
            f"{shard.path} has no samples: only Diptych datasets have samples, not "
            "TFRecords from other tools"
        )
    path = os.path.join(os.path.dirname(shard.path), name.samples_file)
    return read_table_at(path, shard.num_examples, columns)


def read_table_at(
    path: str, num_rows: int | None, columns: Sequence[str] | None = None
) -> Any:
    """Returns the table at a path, or some of its columns.

    Args:
        path: Path of the table.
        num_rows: Number of rows that it must have; None for any number.
        columns: Columns to read; None for all.

    Raises:
        DatasetError: The table is missing or damaged, lacks a column, or its number of
            rows is not `num_rows`.
        OSError: The store does not answer, or refuses.
        UsageError: Pyarrow is not installed.
    """
    import_library("pyarrow", "samples", "pyarrow")
    from pyarrow import ArrowException, parquet

    try:
        # Of a local file, only the columns are read.
        data = io.BytesIO(read_bytes(path)) if is_remote(path) else open_file(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it") from None
    try:
        # Not in pyarrow's threads: one that lets go of Python's bytes while the
        # interpreter ends aborts the process.
        with data, parquet.ParquetFile(data, pre_buffer=False) as file:
            table = file.read(columns=columns and list(columns), use_threads=False)
    except (ArrowException, OSError) as error:
        raise DatasetError(f"{path} is damaged ({error}): restore it") from error
    if absent := {*(columns or ())} - {*table.column_names}:
        raise DatasetError(f"{path} has no column {min(absent)}: restore it")
    if num_rows is not None and len(table) != num_rows:
        raise DatasetError(
            f"{path} has {len(table)} rows, but its shard has {num_rows} records: "
            "restore both"
        )
    return table
