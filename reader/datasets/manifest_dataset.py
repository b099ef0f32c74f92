"""What a user points at → the shards that are meant, held against the manifest.

Shards are taken from the manifest, not from the disk: a shard that is missing, cut
short or left over from another dataset is told here and not at step 40,000.
"""

import fnmatch
import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BUILD_DIR, MANIFEST, SHARD_SUFFIX, TOKENIZER_DIR
from reader.contract.manifest import Manifest, Shard, Split, parse_manifest
from reader.contract.tokenizers.protocol import Tokenizer
from reader.contract.tokenizers.registry import check_tokenizer, load_tokenizer
from reader.storage.files import (
    Pattern,
    is_folder,
    is_remote,
    list_folder,
    match,
    read_bytes,
    same_place,
    size_of,
)

# Questions at a time to a bucket, each of which takes a while to answer.
_REMOTE_QUESTIONS = 32


@dataclass(frozen=True)
class ManifestDataset:
    """A finished dataset: its folder and its manifest."""

    folder: str
    manifest: Manifest

    def path(self, file: str) -> str:
        """Returns the path of one of its files."""
        return os.path.join(self.folder, file)

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer its captions were tokenized with.

        Raises:
            DatasetError: Its file is missing or changed.
            UsageError: A library that it needs is not installed.
        """
        return load_tokenizer(self.manifest.tokenizer, self.tokenizer_data())

    def tokenizer_data(self) -> bytes:
        """Returns the bytes of the tokenizer's file; needs no library.

        Raises:
            DatasetError: It is missing or changed.
        """
        spec = self.manifest.tokenizer
        path = self.path(f"{TOKENIZER_DIR}/{spec.file}")
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None
        check_tokenizer(spec, data)
        return data


@dataclass(frozen=True)
class ShardSelection:
    """Shards of one dataset, in the manifest's order.

    Attributes:
        dataset: They are part of.
        shards: The shards.
        splits: The splits they belong to.
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
        """Records in these shards."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of these shards."""
        return sum(shard.num_bytes for shard in self.shards)


def open_dataset(folder: Pattern) -> ManifestDataset:
    """Opens a finished dataset.

    Raises:
        DatasetError: It has no manifest, a damaged one, or one of a newer format.
    """
    folder = os.fspath(folder)
    try:
        return ManifestDataset(
            folder, parse_manifest(read_bytes(os.path.join(folder, MANIFEST)), folder)
        )
    except (FileNotFoundError, NotADirectoryError):
        raise no_dataset(folder) from None


def no_dataset(folder: str) -> DatasetError:
    """Returns the error that there is no finished dataset in a folder."""
    shown = (folder or ".").rstrip("/") + "/"
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
    """Tells whether a folder holds a finished dataset."""
    try:
        size_of(os.path.join(folder, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def find_folder(pattern: str) -> str:
    """Returns the folder that a pattern is about.

    Raises:
        UsageError: It is about several.
    """
    if is_folder(pattern):
        return pattern
    return _one_folder(os.path.dirname(pattern), pattern)


def select(
    pattern: Pattern | Sequence[Pattern], split: str | None = None
) -> ShardSelection:
    """Returns the shards that a glob, several globs, or a folder mean.

    Args:
        pattern: A shard glob such as `out/train-*.tfrecord`, a list of these within
            one dataset, or the dataset's folder.
        split: The split to take, where a folder holds several.

    Raises:
        DatasetError: The dataset is unfinished, or a shard is missing or has another
            size than the manifest says.
        UsageError: Nothing matches, or a split is missing or needed.
    """
    patterns = [pattern] if isinstance(pattern, (str, os.PathLike)) else list(pattern)
    if not patterns:
        raise UsageError("pattern must not be an empty list")
    parts = [_select_one(os.fspath(part), split) for part in patterns]
    if len({same_place(part.dataset.folder) for part in parts}) > 1:
        raise UsageError(
            f"patterns must lie in one dataset, got {', '.join(map(str, patterns))}"
        )
    dataset = parts[0].dataset
    chosen = {shard.file for part in parts for shard in part.shards}
    shards = tuple(s for s in dataset.manifest.shards if s.file in chosen)
    splits = tuple(
        split for split in dataset.manifest.splits if chosen & _files(split.shards)
    )
    selection = ShardSelection(dataset, shards, splits)
    _check_sizes(selection)
    return selection


def _select_one(pattern: str, split: str | None) -> ShardSelection:
    if is_folder(pattern):
        dataset = open_dataset(pattern)
        shards = _choose_split(dataset, split).shards
        return ShardSelection(dataset, shards, ())
    if split is not None:
        raise UsageError(
            f'split="{split}" goes with a folder, got the pattern "{pattern}"'
        )
    folder, names = os.path.split(pattern)
    if not glob.has_magic(names) and not names.endswith(SHARD_SUFFIX):
        raise no_dataset(pattern)
    dataset = open_dataset(_one_folder(folder, pattern))
    shards = tuple(
        s for s in dataset.manifest.shards if fnmatch.fnmatchcase(s.file, names)
    )
    if not shards:
        have = ", ".join(f"{s.name}-*{SHARD_SUFFIX}" for s in dataset.manifest.splits)
        raise UsageError(f'no shard matches "{pattern}": there are {have}')
    splits = [
        s.name for s in dataset.manifest.splits if _files(shards) & _files(s.shards)
    ]
    if len(splits) > 1:
        raise UsageError(
            f'"{pattern}" takes in the splits {", ".join(splits)}: name one of them, '
            "or give a list of patterns to mix them"
        )
    _check_strangers(dataset, names)
    return ShardSelection(dataset, shards, ())


def _choose_split(dataset: ManifestDataset, name: str | None) -> Split:
    splits = {split.name: split for split in dataset.manifest.splits}
    names = ", ".join(splits)
    if name is None and len(splits) > 1:
        raise UsageError(
            f"{dataset.folder} holds the splits {names}: say split=, or use a glob"
        )
    if name is None:
        return next(iter(splits.values()))
    if name not in splits:
        raise UsageError(f'{dataset.folder} has no split "{name}": there are {names}')
    return splits[name]


def _one_folder(folder: str, pattern: str) -> str:
    if not folder or not glob.has_magic(folder) or is_folder(folder):
        return folder or "."
    folders = list(filter(is_folder, match(folder)))
    if len(folders) != 1:
        raise UsageError(
            f'"{pattern}" must lie in one folder, got {len(folders)}: '
            f"{', '.join(folders[:3]) or 'none matches'}"
        )
    return folders[0]


def _check_strangers(dataset: ManifestDataset, names: str) -> None:
    """Refuses shards that match but are no part of the dataset."""
    found = fnmatch.filter(list_folder(dataset.folder), names)
    strangers = sorted(set(found) - _files(dataset.manifest.shards))
    strangers = [name for name in strangers if name.endswith(SHARD_SUFFIX)]
    if strangers:
        raise DatasetError(
            f"{dataset.path(strangers[0])} is no part of the dataset beside it "
            f"({len(strangers)} such files): remove it or narrow the pattern"
        )


def _files(shards: Sequence[Shard]) -> set[str]:
    return {shard.file for shard in shards}


def _check_sizes(selection: ShardSelection) -> None:
    shards = zip(selection.shards, selection.paths, strict=True)
    if not is_remote(selection.dataset.folder):
        for shard, path in shards:
            _check_size(shard, path)
        return
    with ThreadPoolExecutor(_REMOTE_QUESTIONS) as pool:
        list(pool.map(_check_size, selection.shards, selection.paths))


def _check_size(shard: Shard, path: str) -> None:
    try:
        size = size_of(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it or build again") from None
    if size != shard.num_bytes:
        raise DatasetError(
            f"{path} has {size} bytes, not {shard.num_bytes} as the manifest says: "
            "restore it or build again"
        )
