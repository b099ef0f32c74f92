"""Resolves patterns to record sources: shards and the schema of their records.

A pattern in a folder with a manifest matches shards of that dataset. Any other pattern
matches foreign TFRecords, which are TFRecords from other tools.
"""

import dataclasses
import logging
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader.contract.additions.layer import LAYER
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BLOCK_RECORDS, BUILD_DIR, MANIFEST
from reader.datasets.foreign_files import (
    NUM_INSPECTED,
    check_numbers,
    compression_of,
    first_compressed_records,
    scan,
    some_records,
)
from reader.datasets.foreign_schema import check_features, record_schema_of_records
from reader.datasets.index_files import open_shards
from reader.datasets.layers import Layers, NamedLayers, layer_files
from reader.datasets.manifest_dataset import (
    Place,
    ShardSelection,
    find_place,
    no_dataset,
    select,
)
from reader.datasets.record_index import LayerFiles, RecordIndex, ShardFile
from reader.datasets.record_schema import (
    RecordSchema,
    merge_record_schemas,
    record_schema_of,
    with_layer,
)
from reader.shuffle.arrays import Int64s
from reader.shuffle.mixture import PATTERN_TURNS
from reader.shuffle.subset import Chosen
from reader.storage.files import (
    Pattern,
    list_folder,
    local_path,
    match,
    same_place,
)

_LOG = logging.getLogger("reader")

# coco_captions-train.tfrecord-00000-of-00128
_OF_TFDS = re.compile(r".+-(?P<split>\w+)\.tfrecord-[0-9]{5}-of-[0-9]{5}")


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


def open_record_source(
    patterns: Sequence[str],
    split: str | None,
    features: Mapping[str, str] | None,
    *,
    tolerant: bool = False,
    compressed: bool = True,
    layers: NamedLayers | None = None,
) -> RecordSource:
    """Returns one record source with the records of all patterns.

    Args:
        patterns: Globs, paths of files, or folders of datasets.
        split: Split to read, if a folder holds several.
        features: Feature keys of foreign TFRecords, by name.
        tolerant: Whether to accept damaged foreign TFRecords, such as truncated files.
        compressed: Whether to accept compressed files; inspecting them needs
            TensorFlow.
        layers: Layers to read with the records; callers check that all were used.

    Raises:
        DatasetError: A dataset is unfinished or incomplete, or its index is damaged.
        UsageError: A pattern matches nothing, a split is missing or needed, a dataset
            lacks a layer, or the matched files cannot be read as one.
    """
    if not patterns:
        raise UsageError("pattern must not be an empty list")
    by_folder: dict[str, list[Place]] = {}
    for place in map(find_place, patterns):
        by_folder.setdefault(same_place(place.folder), []).append(place)
    parts = [
        _open_one(places, split, features, tolerant, compressed, layers)
        for places in by_folder.values()
    ]
    if len(parts) == 1:
        return parts[0]
    parts = list(map(_numbered, parts, range(len(parts))))
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


def _numbered(source: RecordSource, dataset: int) -> RecordSource:
    """Returns a source whose files state which dataset of several it is."""
    shards = [dataclasses.replace(shard, dataset=dataset) for shard in source.shards]
    return dataclasses.replace(source, shards=tuple(shards))


def _open_one(
    places: Sequence[Place],
    split: str | None,
    features: Mapping[str, str] | None,
    tolerant: bool,
    compressed: bool,
    layers: NamedLayers | None,
) -> RecordSource:
    folder, entries = places[0].folder, places[0].entries
    if places[0].manifest is not None or BUILD_DIR in entries:
        if features is not None:
            raise UsageError(
                f"features is for TFRecords without a manifest; {folder} has a "
                "manifest that names its features: leave out features"
            )
        return _of_dataset(select(places, split), layers or NamedLayers(None))
    if LAYER in entries:
        raise no_dataset(folder)
    if layers:
        raise UsageError(
            f"{folder} has no {MANIFEST}: only Diptych datasets have layers, not "
            "TFRecords from other tools. Leave out layers"
        )
    paths: dict[str, None] = {}
    for place in places:
        if place.names is None:
            raise no_pattern(folder)
        found = match(place.pattern)
        if not found:
            raise DatasetError(f"{no_dataset(folder)}: no file matches {place.pattern}")
        paths.update(dict.fromkeys(found))
    return _of_foreign_files(list(paths), features, tolerant, compressed)


def _holding(
    files: Sequence[ShardFile], record_schema: RecordSchema
) -> tuple[ShardFile, ...]:
    features = record_schema.features
    return tuple(dataclasses.replace(file, features=features) for file in files)


def no_pattern(folder: str) -> DatasetError:
    """Returns the error for a folder that is not a finished Diptych dataset.

    If TensorFlow Datasets wrote its files, the message suggests a pattern for them.
    """
    splits = {m["split"] for m in map(_OF_TFDS.fullmatch, list_folder(folder)) if m}
    if not splits:
        return no_dataset(folder)
    patterns = " or ".join(f'"{folder}/*-{s}.tfrecord-*"' for s in sorted(splits))
    return DatasetError(
        f"no {MANIFEST} in {folder}: TensorFlow Datasets wrote these files. Pass a "
        f"pattern, such as {patterns}"
    )


# Diptych datasets.


def _of_dataset(selection: ShardSelection, layers: NamedLayers) -> RecordSource:
    dataset, shards, splits = selection.dataset, selection.shards, selection.splits
    opening, added = open_shards(dataset.indexed, shards), layers.of(dataset)
    record_schema = record_schema_of(dataset.manifest, splits)
    for layer in added:
        record_schema = with_layer(record_schema, layer.manifest, splits)
    layered = tuple(layer_files(layer, shards) for layer in added)
    files, blocks = opening.files(record_schema.features)
    return RecordSource(
        name=dataset.folder,
        record_schema=record_schema,
        shards=files,
        block_offsets=blocks,
        layers=layered,
    )


# Foreign TFRecords.


def _of_foreign_files(
    paths: list[str],
    features: Mapping[str, str] | None,
    tolerant: bool,
    compressed: bool,
) -> RecordSource:
    check_numbers(paths)
    kinds = {compression_of(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"the {len(paths)} matched files (the first is {paths[0]}) mix compressed "
            "and uncompressed files, or GZIP and ZLIB: read them separately"
        )
    name, (compression,) = paths[0], kinds
    if compression and not compressed:
        raise UsageError(
            f"{name} is compressed ({compression}), so random access to its records is "
            "not possible: write it uncompressed (images do not shrink further)"
        )
    if compression:
        return _of_compressed(paths, features, compression)
    files = [_scanned(path, tolerant) for path in paths]
    records = some_records(files, tolerant=tolerant)
    if not records:
        more = f" and {len(paths) - 1} other files hold" if paths[1:] else " holds"
        raise DatasetError(f"{name}{more} no record")
    record_schema = record_schema_of_records(records, features, name)
    return RecordSource(
        name=name,
        record_schema=record_schema,
        shards=_holding(files, record_schema),
        block_offsets=np.concatenate(
            [file.offsets()[:-1:BLOCK_RECORDS] for file in files]
        ),
    )


def _scanned(path: str, tolerant: bool) -> ShardFile:
    file, problem = scan(path)
    if problem is not None:
        if not tolerant:
            raise DatasetError(f'{problem}: restore it, or pass on_corrupt="skip"')
        _LOG.warning("%s: the rest of the file is lost", problem)
    return file


def _of_compressed(
    paths: list[str], features: Mapping[str, str] | None, compression: str
) -> RecordSource:
    records = first_compressed_records(paths, compression, NUM_INSPECTED)
    none: Int64s = np.zeros(0, np.int64)
    return RecordSource(
        name=paths[0],
        record_schema=record_schema_of_records(records, features, paths[0]),
        shards=tuple(ShardFile(path, 0, 0, "", lambda: none) for path in paths),
        block_offsets=none,
        compression=compression,
    )


Patterns = Pattern | Sequence[Pattern] | Mapping[str, float]


def open_record_sources(
    pattern: Patterns,
    split: str | None = None,
    features: Mapping[str, str] | None = None,
    layers: Layers = None,
    *,
    tolerant: bool = False,
) -> tuple[list[RecordSource], list[float] | None]:
    """Returns one record source and None, or sources and weights of a mixture.

    Args:
        pattern: Glob, folder, list of these, or mixture `{pattern: weight}`.
        split: Split to read, if a folder holds several.
        features: Feature keys of foreign TFRecords, by name.
        layers: Names or paths of layers to read with the records.
        tolerant: Whether to accept damaged foreign TFRecords, such as truncated files.

    Raises:
        DatasetError: A dataset or a layer is unfinished or incomplete.
        UsageError: A pattern matches nothing, a weight is not a positive number, a
            dataset lacks a layer, or the matched files cannot be read as one.
    """
    named, added = check_features(features), NamedLayers(layers)
    if isinstance(pattern, Mapping):
        weights: Any = [_weight(key, value) for key, value in pattern.items()]
        if not weights:
            raise UsageError("pattern must not be an empty mapping")
        if len(weights) > PATTERN_TURNS:
            raise UsageError(
                f"a mixture has at most {PATTERN_TURNS} parts, got {len(weights)}"
            )
        parts = [[local_path(key)] for key in pattern]
    else:
        parts, weights = [list_patterns(pattern)], None
    record_sources = [
        open_record_source(part, split, named, tolerant=tolerant, layers=added)
        for part in parts
    ]
    if len(record_sources) > 1:
        record_sources = list(map(_numbered, record_sources, range(len(parts))))
    added.check_used()
    join_layers(record_sources)  # Raises if these differ.
    return record_sources, weights


def list_patterns(pattern: Pattern | Sequence[Pattern]) -> list[str]:
    """Returns one pattern or several patterns as a list of paths."""
    single = isinstance(pattern, (str, os.PathLike))
    patterns: Any = [pattern] if single else pattern
    return [local_path(part) for part in patterns]


def open_one_record_source(
    pattern: Patterns,
    split: str | None,
    features: Mapping[str, str] | None,
    layers: Layers = None,
) -> RecordSource:
    """Returns a record source that has epochs: not a mixture, not compressed.

    Raises:
        DatasetError: As for `open_record_sources`.
        UsageError: As for `open_record_sources`, or the source has no epochs.
    """
    record_sources, weights = open_record_sources(pattern, split, features, layers)
    if weights is not None:
        raise UsageError("a mixture has no epochs: pass one of its parts")
    if record_sources[0].compression:
        raise UsageError(
            f"{record_sources[0].name} is compressed, so its number of records is "
            "unknown: write it uncompressed"
        )
    return record_sources[0]


def _weight(pattern: object, weight: object) -> float:
    if isinstance(weight, numbers.Real) and not isinstance(weight, bool):
        value = float(weight)
        if 0 < value < float("inf"):
            return value
    raise UsageError(
        f"the weight of {pattern} must be a positive number, got {weight!r}"
    )
