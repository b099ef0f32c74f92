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
    is_folder,
    list_folder,
    local_path,
    match,
    read_bytes,
    same_place,
    size_of,
    sizes_in,
)


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

    def check_sizes(self, shards: Sequence[Shard]) -> None:
        """Checks that shards exist and have the right sizes.

        Raises:
            DatasetError: A shard is missing or has another size.
        """
        sizes = sizes_in(self.folder, [shard.file for shard in shards])
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
    try:
        return ManifestDataset(
            folder, parse_manifest(read_bytes(os.path.join(folder, MANIFEST)), folder)
        )
    except (FileNotFoundError, NotADirectoryError):
        raise no_dataset(folder) from None


def no_dataset(folder: str) -> DatasetError:
    """Returns the error for a folder without a finished dataset."""
    shown = (folder or ".").rstrip("/") + "/"
    if is_layer(folder):
        name = os.path.basename(os.path.abspath(folder))
        return DatasetError(
            f"{shown} is a layer, which only has what is added to the records of a "
            f'dataset: pass the dataset, and layers="{name}"'
        )
    dataset, last = os.path.split(folder.rstrip("/"))
    if last == LAYERS_DIR and has_manifest(dataset):
        return DatasetError(
            f"{shown} holds the layers of {dataset or '.'}, which only have what is "
            f'added to its records: pass {dataset or "."}, and layers="NAME"'
        )
    if is_folder(os.path.join(folder, BUILD_DIR)):
        return DatasetError(
            f"no {MANIFEST} in {shown}: the job has not finished; run it again to "
            "resume"
        )
    return DatasetError(
        f"no {MANIFEST} in {shown}: the job has not finished (run it again to resume), "
        "or the path is wrong"
    )


def has_manifest(folder: str) -> bool:
    """Returns whether a folder holds a finished dataset."""
    return _exists(os.path.join(folder, MANIFEST))


def is_layer(folder: str) -> bool:
    """Returns whether a folder holds a finished layer of a dataset."""
    return _exists(os.path.join(folder, LAYER))


def _exists(path: str) -> bool:
    try:
        size_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def find_folder(pattern: str) -> str:
    """Returns the folder of the files that a pattern matches.

    Raises:
        UsageError: The folder part of the pattern matches no folder or several.
    """
    if is_folder(pattern):
        return pattern
    return _one_folder(os.path.dirname(pattern), pattern)


def select(
    pattern: Pattern | Sequence[Pattern], split: str | None = None
) -> ShardSelection:
    """Returns the shards that a glob, a list of globs, or a folder selects.

    Args:
        pattern: Shard glob such as `out/train-*.tfrecord`, list of globs within one
            dataset, or folder of the dataset.
        split: Split to select, if `pattern` is a folder with several splits.

    Raises:
        DatasetError: The dataset is unfinished, a shard is missing, or its size differs
            from the manifest.
        UsageError: The pattern matches nothing, the split does not exist, or the folder
            has several splits and `split` is None.
    """
    patterns = [pattern] if isinstance(pattern, (str, os.PathLike)) else list(pattern)
    if not patterns:
        raise UsageError("pattern must not be an empty list")
    parts = [_select_one(local_path(part), split) for part in patterns]
    if len({same_place(part.dataset.folder) for part in parts}) > 1:
        raise UsageError(
            f"patterns must be in one dataset, got {', '.join(map(str, patterns))}"
        )
    dataset = parts[0].dataset
    chosen = {shard.file for part in parts for shard in part.shards}
    shards = tuple(s for s in dataset.manifest.shards if s.file in chosen)
    splits = tuple(
        split for split in dataset.manifest.splits if chosen & _files(split.shards)
    )
    selection = ShardSelection(dataset, shards, splits)
    dataset.indexed.check_sizes(shards)
    return selection


def _select_one(pattern: str, split: str | None) -> ShardSelection:
    if is_folder(pattern):
        dataset = open_dataset(pattern)
        shards = _choose_split(dataset, split).shards
        return ShardSelection(dataset, shards, ())
    if split is not None:
        raise UsageError(f'split="{split}" needs a folder, got the pattern "{pattern}"')
    folder, names = os.path.split(pattern)
    if not glob.has_magic(names) and not names.endswith(SHARD_SUFFIX):
        raise no_dataset(pattern)
    dataset = open_dataset(_one_folder(folder, pattern))
    shards = tuple(
        s for s in dataset.manifest.shards if fnmatch.fnmatchcase(s.file, names)
    )
    if not shards:
        have = ", ".join(f"{s.name}-*{SHARD_SUFFIX}" for s in dataset.manifest.splits)
        raise UsageError(f'no shard matches "{pattern}": the dataset has {have}')
    splits = [
        s.name for s in dataset.manifest.splits if _files(shards) & _files(s.shards)
    ]
    if len(splits) > 1:
        raise UsageError(
            f'"{pattern}" matches the splits {", ".join(splits)}: name one of them, '
            "or pass a list of patterns to mix them"
        )
    _check_stray_shards(dataset, names)
    return ShardSelection(dataset, shards, ())


def _choose_split(dataset: ManifestDataset, name: str | None) -> Split:
    splits = {split.name: split for split in dataset.manifest.splits}
    names = ", ".join(splits)
    if name is None and len(splits) > 1:
        raise UsageError(
            f"{dataset.folder} holds the splits {names}: pass split=, or use a glob"
        )
    if name is None:
        return next(iter(splits.values()))
    if name not in splits:
        raise UsageError(
            f'{dataset.folder} has no split "{name}": its splits are {names}'
        )
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


def _check_stray_shards(dataset: ManifestDataset, names: str) -> None:
    """Rejects shards that match the pattern but are not in the manifest."""
    found = fnmatch.filter(list_folder(dataset.folder), names)
    stray = sorted(set(found) - _files(dataset.manifest.shards))
    stray = [name for name in stray if name.endswith(SHARD_SUFFIX)]
    if stray:
        raise DatasetError(
            f"{dataset.path(stray[0])} is not part of the dataset in its folder "
            f"({len(stray)} such files): remove it or narrow the pattern"
        )


def _files(shards: Sequence[Shard]) -> set[str]:
    return {shard.file for shard in shards}
