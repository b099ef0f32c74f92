"""Defines `RecordSource`: shards to read, and the schema of their records."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reader.contract.errors import UsageError
from reader.datasets.record_index import LayerFiles, RecordIndex, ShardFile
from reader.datasets.record_schema import RecordSchema, merge_record_schemas
from reader.shuffle.arrays import Int64s
from reader.shuffle.subset import Chosen


@dataclass(frozen=True)
class RecordSource:
    """Records to read.

    Attributes:
        name: Name of the source in messages.
        record_schema: Schema of the records.
        shards: Shards in order; compressed shards have only a valid path.
        block_offsets: int64[num_blocks], byte offset of every 64th record of each
            shard, concatenated in shard order.
        compression: `GZIP` or `ZLIB` for compressed files, which can only be read
            sequentially; empty for uncompressed files.
        chosen: Records to read; None for all.
        layers: Layers that are read with the records.
    """

    name: str
    record_schema: RecordSchema
    shards: tuple[ShardFile, ...]
    block_offsets: Int64s
    compression: str = ""
    chosen: Chosen | None = None
    layers: tuple[LayerFiles, ...] = ()

    @property
    def num_examples(self) -> int:
        """Number of records in all shards, chosen or not."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Total size of all shards, in bytes; layers do not count."""
        return sum(shard.num_bytes for shard in self.shards)

    def index(self) -> RecordIndex:
        """Returns a new index of the records."""
        return index_of([self])


def index_of(sources: Sequence[RecordSource]) -> RecordIndex:
    """Returns an index of the records of all sources, numbered one after another."""
    return RecordIndex(
        [shard for source in sources for shard in source.shards],
        np.concatenate([source.block_offsets for source in sources]),
        join_layers(sources),
    )


def join_sources(parts: Sequence[RecordSource]) -> RecordSource:
    """Returns one source with the records of several, one after another.

    Raises:
        UsageError: The parts cannot be read as one.
    """
    if len({part.compression for part in parts}) > 1:
        raise UsageError(
            "compressed files cannot be read together with uncompressed ones"
        )
    return RecordSource(
        name=" and ".join(part.name for part in parts),
        record_schema=merge_record_schemas(
            {part.name: part.record_schema for part in parts}
        ),
        shards=tuple(shard for part in parts for shard in part.shards),
        block_offsets=np.concatenate([part.block_offsets for part in parts]),
        compression=parts[0].compression,
        layers=join_layers(parts),
    )


def join_layers(sources: Sequence[RecordSource]) -> tuple[LayerFiles, ...]:
    """Returns the layers of all sources, each with the shards of all.

    Raises:
        UsageError: The sources differ in their layers.
    """
    for source in sources[1:]:
        _check_alike(sources[0], source)
    parts = (
        [_layer_of(source, layer.name) for source in sources]
        for layer in sources[0].layers
    )
    return tuple(
        dataclasses.replace(
            layers[0],
            shards=tuple(shard for layer in layers for shard in layer.shards),
            block_offsets=np.concatenate([layer.block_offsets for layer in layers]),
        )
        for layers in parts
    )


def _check_alike(one: RecordSource, other: RecordSource) -> None:
    """Checks that two sources have the same layers."""
    names = [{layer.name: None for layer in source.layers} for source in (one, other)]
    for name in names[0] | names[1]:
        for source, having in ((one, names[0]), (other, names[1])):
            if name not in having:
                raise UsageError(
                    f"{source.name} is read without the layer {name}, which others "
                    f"have: make it with `diptych layer {source.name} --name={name}`, "
                    "or pass its path too"
                )
        mine, theirs = _layer_of(one, name), _layer_of(other, name)
        if (mine.features, mine.replaces) != (theirs.features, theirs.replaces):
            raise UsageError(
                f"the layers {name} of {one.name} and {other.name} differ in their "
                "features: make one of them again, with `diptych layer "
                f"{other.name} --name={name} --overwrite`"
            )


def _layer_of(source: RecordSource, name: str) -> LayerFiles:
    (found,) = (layer for layer in source.layers if layer.name == name)
    return found


def numbered(source: RecordSource, dataset: int) -> RecordSource:
    """Returns a source whose files state which dataset of several it is."""
    shards = [dataclasses.replace(shard, dataset=dataset) for shard in source.shards]
    return dataclasses.replace(source, shards=tuple(shards))
