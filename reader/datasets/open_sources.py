"""START HERE for opening: patterns → record sources.

A pattern in a folder with a manifest matches shards of that dataset. Any other pattern
matches foreign TFRecords, which are TFRecords from other tools.
"""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from reader.contract.additions.layer import LAYER
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BUILD_DIR, MANIFEST
from reader.datasets.foreign_schema import check_features
from reader.datasets.foreign_source import no_pattern, open_foreign_files
from reader.datasets.index_files import open_shards
from reader.datasets.layers import Layers, NamedLayers, layer_files
from reader.datasets.manifest_dataset import (
    Place,
    ShardSelection,
    find_place,
    no_dataset,
    select,
)
from reader.datasets.record_schema import record_schema_of, with_layer
from reader.datasets.record_source import (
    RecordSource,
    join_layers,
    join_sources,
    numbered,
)
from reader.shuffle.mixture import PATTERN_TURNS
from reader.storage.files import Pattern, local_path, match, same_place

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
        record_sources = list(map(numbered, record_sources, range(len(parts))))
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
    return join_sources(list(map(numbered, parts, range(len(parts)))))


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
            raise DatasetError(f"no file matches {place.pattern}: {no_dataset(folder)}")
        paths.update(dict.fromkeys(found))
    return open_foreign_files(list(paths), features, tolerant, compressed)


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
