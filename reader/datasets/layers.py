"""START HERE for layers: the argument `layers` → the layers of each dataset."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reader.contract.additions.base_shard import BaseShard, base_of
from reader.contract.additions.layer import (
    LAYER,
    LayerManifest,
    check_layer_name,
    parse_layer,
)
from reader.contract.checks import did_you_mean
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BUILD_DIR, LAYERS_DIR
from reader.contract.manifest import Shard
from reader.contract.schema import Feature
from reader.contract.tokenizers.protocol import Tokenizer
from reader.contract.tokenizers.registry import load_tokenizer
from reader.datasets.index_files import open_shards
from reader.datasets.manifest_dataset import (
    IndexedFolder,
    ManifestDataset,
    read_tokenizer,
)
from reader.datasets.record_index import LayerFiles
from reader.storage.files import (
    Pattern,
    begin_reading,
    is_folder,
    list_folder,
    local_path,
    read_bytes,
)
from reader.storage.folder_entries import FolderEntries

Layers = Pattern | Sequence[Pattern] | None

_AGAIN = "make the layer again with --overwrite"


@dataclass(frozen=True)
class Layer:
    """A layer on disk.

    Attributes:
        path: Path of its folder.
        manifest: What its `layer.json` states.
    """

    path: str
    manifest: LayerManifest

    @property
    def name(self) -> str:
        """Name of the layer, with which the keys of its features begin."""
        return self.manifest.name

    @property
    def indexed(self) -> IndexedFolder:
        """Shards of the layer and their index."""
        manifest = self.manifest
        return IndexedFolder(self.path, manifest.shards, manifest.files, LAYER, _AGAIN)

    @property
    def num_without(self) -> int:
        """Number of records that the layer adds nothing to."""
        return self.manifest.accounting.records_without

    @property
    def num_added(self) -> int:
        """Number of records that the layer adds features to."""
        return self.manifest.num_examples - self.num_without

    @property
    def adds(self) -> str:
        """What the layer adds to a record, for people."""
        parts = []
        if self.manifest.has_captions:
            own = " in place of the dataset's" if self.manifest.replaces else ""
            parts.append(f"captions{own}")
        parts += map(_column_text, self.manifest.columns)
        return ", ".join(parts)

    def tokenizer(self) -> Tokenizer | None:
        """Returns the tokenizer of the layer's captions; None without captions.

        Raises:
            DatasetError: The tokenizer's file is missing or has changed.
            UsageError: A library that the tokenizer needs is not installed.
        """
        spec = self.manifest.tokenizer
        if spec is None:
            return None
        return load_tokenizer(spec, read_tokenizer(self.path, spec))


def _column_text(column: Feature) -> str:
    name = column.key.partition("/")[2]
    length = f"[{column.shape[0] or '…'}]" if column.shape else ""
    return f"{name} ({column.dtype}{length})"


def is_begun(path: str) -> bool:
    """Returns whether a folder holds the work of a job that makes a layer."""
    return is_folder(os.path.join(path, BUILD_DIR))


def open_layer(path: str) -> Layer:
    """Opens a layer.

    Raises:
        DatasetError: It is not complete, or damaged.
        UsageError: A layer cannot have its name.
    """
    return _layer(path, _read_layer(path))


def _read_layer(path: str) -> bytes | None:
    """Returns the bytes of a layer's manifest; None if a folder has none."""
    try:
        return read_bytes(os.path.join(path, LAYER))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _layer(path: str, data: bytes | None) -> Layer:
    if data is None:
        job = (
            "its job is running, was ended or failed"
            if is_begun(path)
            else "it was removed"
        )
        raise DatasetError(
            f"{path} is not a finished layer: it has no {LAYER} ({job}). Run its "
            "`diptych layer` again, or remove the folder"
        )
    file = os.path.join(path, LAYER)
    manifest = parse_layer(data, file)
    check_layer_name(manifest.name)
    strange = [
        each.key
        for each in manifest.features
        if not each.key.startswith(f"{manifest.name}/")
    ]
    if strange:
        raise DatasetError(
            f"{file} is damaged: the layer {manifest.name} has a feature "
            f"{strange[0]}. {_AGAIN.capitalize()}"
        )
    return Layer(path, manifest)


def layer_files(layer: Layer, shards: Sequence[Shard]) -> LayerFiles:
    """Returns the files of a layer for some shards of its dataset.

    Args:
        layer: The layer.
        shards: Shards of the dataset, in the manifest's order.

    Raises:
        DatasetError: A shard is missing or has another size, or the index is damaged.
    """
    entries = begin_reading(layer.path, FolderEntries, layer.path)
    manifest, wanted = layer.manifest, {shard.file for shard in shards}
    pairs = zip(manifest.base, manifest.shards, strict=True)
    chosen = [shard for base, shard in pairs if base.file in wanted]
    features = {feature.key: feature for feature in manifest.features}
    opening = open_shards(layer.indexed, chosen)
    layer.indexed.check_sizes(chosen, entries())
    files, blocks = opening.files(features)
    return LayerFiles(
        name=manifest.name,
        features=manifest.features,
        replaces=manifest.replaces,
        shards=files,
        block_offsets=blocks,
    )


class NamedLayers:
    """Layers that the argument `layers` names, by name or by path."""

    def __init__(self, layers: Layers) -> None:
        """Opens layers that are given by their paths.

        Args:
            layers: Name of a layer in the `layers/` of each dataset, path of a layer,
                or a list of these. A path has a slash.

        Raises:
            DatasetError: A layer is incomplete or damaged.
            UsageError: The argument is neither a path nor a list of paths.
        """
        names: list[Any] = [layers]
        if layers is None or isinstance(layers, (list, tuple)):
            names = list(layers or ())
        if layers is not None and not names:
            raise UsageError("layers must not be an empty list: leave it out")
        for name in names:
            if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
                raise UsageError(f"layers must be names or paths, got {name!r}")
        self._given = [_given(local_path(name)) for name in names]
        self._seen: list[ManifestDataset] = []

    def __bool__(self) -> bool:
        """Returns whether there are any."""
        return bool(self._given)

    def of(self, dataset: ManifestDataset) -> list[Layer]:
        """Returns the layers of a dataset, in the order of the argument.

        Raises:
            DatasetError: A layer is incomplete or damaged.
            UsageError: A layer does not exist or is one of another build, two have the
                same name, or two replace the captions.
        """
        self._seen.append(dataset)
        layers = []
        for given in self._given:
            if not isinstance(given, Layer):
                layers.append(_open_named(dataset, given))
            elif mismatch(given, dataset) is None:
                layers.append(given)
        _check_together(layers)
        return layers

    def check_used(self) -> None:
        """Checks that each path is one of a layer of a dataset that was asked about.

        Raises:
            UsageError: A layer belongs to none of them.
        """
        for given in self._given:
            if isinstance(given, Layer):
                problems = [mismatch(given, dataset) for dataset in self._seen]
                if all(problems):
                    raise UsageError(problems[0])


def _given(name: str) -> str | Layer:
    return open_layer(name.rstrip("/")) if "/" in name else name


def _open_named(dataset: ManifestDataset, name: str) -> Layer:
    path = dataset.path(os.path.join(LAYERS_DIR, name))
    manifest = _read_layer(path)
    if manifest is None and not is_folder(path):
        names = [os.path.basename(each) for each in _paths_in(dataset)]
        listed = ", ".join(names[:9]) or "none"
        hint = did_you_mean(name, names, otherwise=f"its {LAYERS_DIR}/ has {listed}")
        raise UsageError(
            f"{dataset.folder} has no layer {name} ({hint}). Make it with `diptych "
            f"layer {dataset.folder} --name={name}`, or pass a path such as ./{name}"
        )
    layer = _layer(path, manifest)
    problem = mismatch(layer, dataset)
    if layer.name != name:
        problem = f"{path} holds the layer {layer.name}: rename the folder"
    if problem is not None:
        raise UsageError(problem)
    return layer


def _check_together(layers: Sequence[Layer]) -> None:
    by_name: dict[str, Layer] = {}
    for layer in layers:
        if (other := by_name.get(layer.name)) is not None:
            raise UsageError(
                f"layers names {layer.name} twice, {other.path} and {layer.path}: pass "
                "one of them"
            )
        by_name[layer.name] = layer
    replacing = [layer for layer in layers if layer.manifest.replaces]
    if len(replacing) > 1:
        raise UsageError(
            f"{replacing[0].path} and {replacing[1].path} both replace the captions: "
            "pass one of them"
        )


def mismatch(layer: Layer, dataset: ManifestDataset) -> str | None:
    """Returns why a layer does not belong to a dataset; None if it does."""
    former = layer.manifest.base
    shards = tuple(map(base_of, dataset.manifest.shards))
    if former == shards:
        return None
    by_file = {shard.file: shard for shard in former}
    for shard in shards:
        before = by_file.get(shard.file)
        if before is not None and before != shard:
            return (
                f"{layer.path} is a layer of another build of {dataset.folder}: "
                f"{_differs(before, shard)}. Make it again with `diptych layer "
                f"{dataset.folder} --name={layer.name} --overwrite`"
            )
    files = ", ".join(list(by_file)[:2])
    return (
        f"{layer.path} is a layer of another dataset than {dataset.folder}, or of an "
        f"earlier build, with the shards {files} and so on: pass one of this dataset, "
        f"or make it again with `diptych layer {dataset.folder} --name={layer.name} "
        "--overwrite`"
    )


def _differs(before: BaseShard, now: BaseShard) -> str:
    return (
        f"{now.file} had {before.num_examples} records and the checksum "
        f"{before.crc32c}, and now has {now.num_examples} and {now.crc32c}"
    )


class ListedLayer(NamedTuple):
    """A layer in a dataset's folder.

    Attributes:
        name: Name of its folder.
        path: Path of its folder.
        layer: The layer; None if it cannot be used.
        problem: Why it cannot be used; None if it can.
    """

    name: str
    path: str
    layer: Layer | None
    problem: str | None

    @property
    def in_progress(self) -> bool:
        """Whether it is no layer yet, but the work of a job that makes one."""
        return self.layer is None and is_begun(self.path)


def list_layers(dataset: ManifestDataset) -> list[ListedLayer]:
    """Returns the layers in a dataset's folder, sorted by name."""
    listed = []
    for path in _paths_in(dataset):
        name = os.path.basename(path)
        try:
            listed.append(ListedLayer(name, path, _open_named(dataset, name), None))
        except (DatasetError, UsageError, OSError) as error:
            listed.append(ListedLayer(name, path, None, str(error)))
    return listed


def _paths_in(dataset: ManifestDataset) -> Iterator[str]:
    folder = dataset.path(LAYERS_DIR)
    if is_folder(folder):
        for name in list_folder(folder):
            path = os.path.join(folder, name)
            if not name.startswith(".") and is_folder(path):
                yield path
