"""Finds the records for which a condition on the columns of `samples/` is true."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reader.contract.conditions.where import SPLIT, Where, parse_where
from reader.contract.errors import UsageError
from reader.contract.host import import_library, num_cores
from reader.contract.layout import parse_shard_name
from reader.contract.samples import WIDTH, ColumnType, column_type, columns_of
from reader.datasets.record_index import ShardFile
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import read_table
from reader.storage.files import is_remote

# Tables that are read at the same time, which hides the latency of a bucket.
_REMOTE_READS = 16

S = TypeVar("S")
T = TypeVar("T")


def keep_where(source: RecordSource, text: object) -> NDArray[np.bool_]:
    """Returns bool[num_records], for which records a condition is true.

    Args:
        source: Records of Diptych datasets.
        text: Condition.

    Raises:
        UsageError: The text is not a condition on the columns of the records.
        DatasetError: A table of `samples/` is missing or damaged.
    """
    if not isinstance(text, str):
        raise UsageError(
            f'where must be a condition such as "extra/score > 0.3", got {text!r}'
        )
    where = parse_where(text)
    shards = shards_with_layers(source)
    _check_columns(where, shards)

    def keep(shards: tuple[ShardFile, ...]) -> NDArray[np.bool_]:
        shard, *layers = shards
        return where.keeps(read_columns(shard, where.columns, layers))

    parts = map_shards(keep, shards, remote=is_remote(source.name))
    return np.concatenate([np.zeros(0, np.bool_), *parts])


def shards_with_layers(source: RecordSource) -> list[tuple[ShardFile, ...]]:
    """Returns each shard of a source, with those of its layers for the same records."""
    of_layers = (layer.shards for layer in source.layers)
    return list(zip(source.shards, *of_layers, strict=True))


def types_of(shards: tuple[ShardFile, ...]) -> dict[str, ColumnType]:
    """Returns the columns of a shard and of its layers, `{name: type}`."""
    shard, *layers = shards
    types = columns_of(shard.features.values())
    for layer in layers:
        types |= _added_by(layer)
    return types


def _check_columns(where: Where, shards: Sequence[tuple[ShardFile, ...]]) -> None:
    """Checks that all shards, or those of their layers, have the condition's columns.

    Raises:
        UsageError: A column is unknown or cannot be compared.
    """
    folders = {os.path.dirname(each[0].path): each for each in shards}
    for shards_of_folder in folders.values():
        shard, *_ = shards_of_folder
        if not shard.has_manifest:
            raise UsageError(
                f"where needs the samples of a Diptych dataset; {shard.path} is a "
                "TFRecord file of another tool"
            )
        where.check(types_of(shards_of_folder))


def _added_by(layer: ShardFile) -> dict[str, ColumnType]:
    """Returns the columns that a layer adds, `{name: type}`."""
    return {
        feature.key: column_type(feature)
        for feature in layer.features.values()
        if feature.role == "extra"
    }


def read_columns(
    shard: ShardFile, columns: Iterable[str], layers: Sequence[ShardFile] = ()
) -> Any:
    """Returns a `pyarrow.Table` with columns of a shard's records.

    Args:
        shard: Shard of a Diptych dataset.
        columns: Columns of `samples/`, of the layers, or `split`.
        layers: Shards of layers for the same records.

    Raises:
        DatasetError: The table is missing or damaged.
    """
    names, added = list(columns), []
    for layer in layers:
        in_layer = [name for name in names if name in _added_by(layer)]
        if in_layer:
            added.append(read_table(layer, in_layer))
    found = {name for each in added for name in each.column_names}
    own = [name for name in names if name not in (SPLIT, *found)]
    # A table without columns would have no rows.
    table = read_table(shard, own or [WIDTH])
    for each in added:
        for name in each.column_names:
            table = table.append_column(name, each[name])
    if SPLIT in names:
        pyarrow = import_library("pyarrow", "samples", "pyarrow")
        name = parse_shard_name(os.path.basename(shard.path))
        split = pyarrow.scalar("" if name is None else name.split)
        table = table.append_column(SPLIT, pyarrow.repeat(split, len(table)))
    return table


def map_shards(
    function: Callable[[S], T], parts: Sequence[S], *, remote: bool
) -> Iterator[T]:
    """Yields what a function returns of each part, in order; calls it in threads.

    Args:
        function: Function of a part, such as a shard.
        parts: Parts of a dataset.
        remote: Whether the dataset is in a bucket.
    """
    with ThreadPoolExecutor(_REMOTE_READS if remote else num_cores()) as pool:
        yield from pool.map(function, parts)
