"""Resolves a folder or glob to the shards of a dataset.

Shards come from the manifest, not from a directory listing. A shard that is missing,
truncated or left over from another dataset is reported here, not at step 40,000.
"""

import fnmatch
import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reader.contract.additions.layer import LAYER
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import (
    BUILD_DIR,
    LAYERS_DIR,
    MANIFEST,
    SHARD_SUFFIX,
    TOKENIZER_DIR,
)
from reader.contract.manifest import (
    Manifest,
    Shard,
    Split,
    TokenizerSpec,
    parse_manifest,
)
from reader.contract.tokenizers.protocol import Tokenizer
from reader.contract.tokenizers.registry import check_tokenizer, load_tokenizer
from reader.storage.files import (
    Pattern,
    begin_reading,
    is_folder,
    is_remote,
    local_path,
    match,
    read_bytes,
    size_of,
)
from reader.storage.folder_entries import FolderEntries


class IndexedFolder(NamedTuple):
    """A folder of shards and their index: that of a dataset, or of a layer.

    Attributes:
        folder: Path of the folder.
        shards: All shards, in the order of the index.
        files: CRC-32C of each other file, `{path: crc32c}`.
        stated_by: Name of the file that states these, for messages.
        again: How to write the files again, for messages.
    """

    folder: str
    shards: tuple[Shard, ...]
    files: Mapping[str, str]
    stated_by: str = "the manifest"
    again: str = "build again"

    def path(self, file: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.folder, file)

    def check_sizes(self, shards: Sequence[Shard], entries: FolderEntries) -> None:
        """Checks that shards exist and have the right sizes.

        Args:
            shards: Shards to check.
            entries: Entries of the folder.

        Raises:
            DatasetError: A shard is missing or has another size.
        """
        sizes = entries.sizes([shard.file for shard in shards])
        for shard, size in zip(shards, sizes, strict=True):
            path = self.path(shard.file)
            if size is None:
                raise DatasetError(f"{path} is missing: restore it or {self.again}")
            if size != shard.num_bytes:
                raise DatasetError(
                    f"{path} has {size} bytes, not {shard.num_bytes} as "
                    f"{self.stated_by} says: restore it or {self.again}"
                )


@dataclass(frozen=True)
class ManifestDataset:
    """A finished dataset.

    Attributes:
        folder: Path of the dataset.
        manifest: Parsed manifest of the dataset.
    """

    folder: str
    manifest: Manifest

    def path(self, file: str) -> str:
        """Returns the path of a file in the dataset's folder."""
        return os.path.join(self.folder, file)

    @property
    def indexed(self) -> IndexedFolder:
        """Shards of the dataset and their index."""
        return IndexedFolder(self.folder, self.manifest.shards, self.manifest.files)

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer that tokenized the captions.

        Raises:
            DatasetError: The tokenizer's file is missing or has changed.
            UsageError: A library that the tokenizer needs is not installed.
        """
        return load_tokenizer(self.manifest.tokenizer, self.tokenizer_data())

    def tokenizer_data(self) -> bytes:
        """Returns the bytes of the tokenizer's file; needs no tokenizer library.

        Raises:
            DatasetError: The file is missing or has changed.
        """
        return read_tokenizer(self.folder, self.manifest.tokenizer)


def read_tokenizer(folder: str, spec: TokenizerSpec) -> bytes:
    """Returns the bytes of the tokenizer's file of a dataset or layer.

    Raises:
        DatasetError: The file is missing or has changed.
    """
    path = os.path.join(folder, TOKENIZER_DIR, spec.file)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it") from None
    check_tokenizer(spec, data)
    return data


@dataclass(frozen=True)
class ShardSelection:
    """Selected shards of one dataset, in the manifest's order.

    Attributes:
        dataset: Dataset that the shards belong to.
        shards: Selected shards.
        splits: Splits that the shards belong to.
    """

    dataset: ManifestDataset
    shards: tuple[Shard, ...]
    splits: tuple[Split, ...]

    @property
    def paths(self) -> list[str]:
        """Paths of the shards."""
        return [self.dataset.path(shard.file) for shard in self.shards]

    @property
    def num_examples(self) -> int:
        """Number of records in the shards."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Total size of the shards, in bytes."""
        return sum(shard.num_bytes for shard in self.shards)


def open_dataset(folder: Pattern) -> ManifestDataset:
    """Opens a finished dataset.

    Raises:
        DatasetError: The manifest is missing, damaged, or of a newer format.
    """
    folder = local_path(folder)
    return _parsed(folder, _read_manifest(folder))


def _parsed(folder: str, manifest: bytes | None) -> ManifestDataset:
    if manifest is None:
        raise no_dataset(folder)
    return ManifestDataset(folder, parse_manifest(manifest, folder))


def _read_manifest(folder: str) -> bytes | None:
    """Returns the bytes of a folder's manifest; None if it has none."""
    try:
        return read_bytes(os.path.join(folder, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return None


def no_dataset(folder: str) -> DatasetError:
    """Returns the error for a folder without a finished dataset."""
    shown = (folder or ".").rstrip("/") + "/"
    if _is_layer(folder):
        name = os.path.basename(os.path.abspath(folder))
        return DatasetError(
            f"{shown} is a layer, which only has what is added to the records of a "
            f'dataset: pass the dataset, and layers="{name}"'
        )
    dataset, last = os.path.split(folder.rstrip("/"))
    if last == LAYERS_DIR and _has_manifest(dataset):
        return DatasetError(
            f"{shown} holds the layers of {dataset or '.'}, which only have what is "
            f'added to its records: pass {dataset or "."}, and layers="NAME"'
        )
    if is_folder(os.path.join(folder, BUILD_DIR)):
        return DatasetError(
            f"no {MANIFEST} in {shown}: the job has not finished; run it again to "
            "resume, or to see what stopped it"
        )
    return DatasetError(
        f"no {MANIFEST} in {shown}: the job has not finished (run it again to resume), "
        "or the path is wrong"
    )


def _has_manifest(folder: str) -> bool:
    """Returns whether a folder holds a finished dataset."""
    return _exists(os.path.join(folder, MANIFEST))


def _is_layer(folder: str) -> bool:
    """Returns whether a folder holds a finished layer of a dataset."""
    return _exists(os.path.join(folder, LAYER))


def _exists(path: str) -> bool:
    try:
        size_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


class Place(NamedTuple):
    """Where the files of a pattern are.

    Attributes:
        pattern: The pattern.
        entries: Entries of the folder.
        manifest: Bytes of the folder's manifest; None if it has none.
        names: Glob of the files; None if the pattern is the folder.
    """

    pattern: str
    entries: FolderEntries
    manifest: bytes | None
    names: str | None

    @property
    def folder(self) -> str:
        """Path of the folder."""
        return self.entries.folder

    def dataset(self) -> ManifestDataset:
        """Returns the dataset in the folder.

        Raises:
            DatasetError: The manifest is missing, damaged, or of a newer format.
        """
        return _parsed(self.folder, self.manifest)


def find_place(pattern: str) -> Place:
    """Returns where the files of a pattern are, after one round trip to a bucket.

    Raises:
        UsageError: The folder part of the pattern matches no folder or several.
    """
    parent, names = os.path.split(pattern)
    if is_remote(pattern) and _may_be_shards(names) and not glob.has_magic(parent):
        # A folder of that name is possible, but unlikely.
        is_one = begin_reading(pattern, is_folder, pattern)
        place = _place(pattern, parent, names)
        return _place(pattern, pattern) if is_one() else place
    place = _place(pattern, pattern)
    if place.entries.exists:
        return place
    return _place(pattern, _one_folder(parent, pattern), names)


def _may_be_shards(names: str) -> bool:
    return glob.has_magic(names) or names.endswith(SHARD_SUFFIX)


def _place(pattern: str, folder: str, names: str | None = None) -> Place:
    manifest = begin_reading(folder, _read_manifest, folder)
    return Place(pattern, FolderEntries(folder), manifest(), names)


def select(places: Sequence[Place], split: str | None = None) -> ShardSelection:
    """Returns the shards of one dataset that patterns select.

    Args:
        places: Where the files of each pattern are: shard globs such as
            `out/train-*.tfrecord` within one dataset, or the folder of the dataset.
        split: Split to select, if a pattern is a folder with several splits.

    Raises:
        DatasetError: The dataset is unfinished, a shard is missing, or its size differs
            from the manifest.
        UsageError: The pattern matches nothing, the split does not exist, or the folder
            has several splits and `split` is None.
    """
    for place in places:
        if place.names is not None and not _may_be_shards(place.names):
            raise no_dataset(place.pattern)
    dataset = places[0].dataset()
    chosen = {
        shard.file
        for place in places
        for shard in _select_one(dataset.manifest, place, split)
    }
    shards = tuple(s for s in dataset.manifest.shards if s.file in chosen)
    splits = tuple(
        split for split in dataset.manifest.splits if chosen & _files(split.shards)
    )
    dataset.indexed.check_sizes(shards, places[0].entries)
    return ShardSelection(dataset, shards, splits)


def _select_one(manifest: Manifest, place: Place, split: str | None) -> Sequence[Shard]:
    names, pattern = place.names, place.pattern
    if names is None:
        return _choose_split(place.folder, manifest, split).shards
    if split is not None:
        raise UsageError(f'split="{split}" needs a folder, got the pattern "{pattern}"')
    shards = [s for s in manifest.shards if fnmatch.fnmatchcase(s.file, names)]
    if not shards:
        have = ", ".join(f"{s.name}-*{SHARD_SUFFIX}" for s in manifest.splits)
        raise UsageError(f'no shard matches "{pattern}": the dataset has {have}')
    splits = [s.name for s in manifest.splits if _files(shards) & _files(s.shards)]
    if len(splits) > 1:
        raise UsageError(
            f'"{pattern}" matches the splits {", ".join(splits)}: name one of them, '
            "or pass a list of patterns to mix them"
        )
    _check_stray_shards(manifest, place.entries, names)
    return shards


def _choose_split(folder: str, manifest: Manifest, name: str | None) -> Split:
    splits = {split.name: split for split in manifest.splits}
    names = ", ".join(splits)
    if name is None and len(splits) > 1:
        raise UsageError(
            f"{folder} holds the splits {names}: pass split=, or use a glob"
        )
    if name is None:
        return next(iter(splits.values()))
    if name not in splits:
        raise UsageError(f'{folder} has no split "{name}": its splits are {names}')
    return splits[name]


def _one_folder(folder: str, pattern: str) -> str:
    if not folder or not glob.has_magic(folder) or is_folder(folder):
        return folder or "."
    folders = list(filter(is_folder, match(folder)))
    if len(folders) != 1:
        raise UsageError(
            f'"{pattern}" must match one folder, got {len(folders)}: '
            f"{', '.join(folders[:3]) or 'check the path'}"
        )
    return folders[0]


def _check_stray_shards(manifest: Manifest, entries: FolderEntries, names: str) -> None:
    """Rejects shards that match the pattern but are not in the manifest."""
    found = fnmatch.filter(entries.names(), names)
    stray = sorted(set(found) - _files(manifest.shards))
    stray = [name for name in stray if name.endswith(SHARD_SUFFIX)]
    if stray:
        raise DatasetError(
            f"{os.path.join(entries.folder, stray[0])} is not part of the dataset in "
            f"its folder ({len(stray)} such files): remove it or narrow the pattern"
        )


def _files(shards: Sequence[Shard]) -> set[str]:
    return {shard.file for shard in shards}
