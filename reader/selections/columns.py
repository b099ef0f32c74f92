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
from reader.contract.samples import WIDTH, ColumnType, columns_of
from reader.datasets.record_index import ShardFile
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import added_columns, read_joined, with_layers
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
    shards = with_layers(source)
    _check_columns(where, shards)

    def keep(shards: tuple[ShardFile, Sequence[ShardFile]]) -> NDArray[np.bool_]:
        return where.keeps(read_columns(shards[0], where.columns, shards[1]))

    parts = map_shards(keep, shards, remote=is_remote(source.name))
    return np.concatenate([np.zeros(0, np.bool_), *parts])


def _check_columns(
    where: Where, shards: Sequence[tuple[ShardFile, Sequence[ShardFile]]]
) -> None:
    """Checks that all shards, or those of their layers, have the condition's columns.

    Raises:
        UsageError: A column is unknown or cannot be compared.
    """
    folders = {os.path.dirname(shard.path): (shard, layers) for shard, layers in shards}
    for shard, layers in folders.values():
        if not shard.has_manifest:
            raise UsageError(
                f"where needs the samples of a Diptych dataset; {shard.path} is a "
                "TFRecord file of another tool"
            )
        where.check(types_of(shard, layers))


def types_of(shard: ShardFile, layers: Sequence[ShardFile]) -> dict[str, ColumnType]:
    """Returns the columns of a shard and those that layers add, `{name: type}`."""
    types = columns_of(shard.features.values())
    for layer in layers:
        types |= added_columns(layer)
    return types


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
    names = list(columns)
    own = [name for name in names if name != SPLIT]
    table = read_joined(shard, layers, own or [WIDTH])
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
