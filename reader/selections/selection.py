"""Reads and writes selections, each of which is a folder."""

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.base_shard import BaseShard, base_of
from reader.contract.additions.selection import (
    BITS,
    SELECTION,
    WEIGHTS,
    SelectionManifest,
    dump_selection,
    parse_selection,
    parse_weights,
    parse_words,
)
from reader.contract.errors import DatasetError, UsageError
from reader.contract.index import num_blocks
from reader.contract.layout import SELECTIONS_DIR
from reader.contract.record import crc32c_hex
from reader.datasets.manifest_dataset import ManifestDataset
from reader.shuffle.arrays import UInt64s
from reader.shuffle.subset import Chosen, unpack
from reader.storage.files import (
    begin_reading,
    is_folder,
    is_remote,
    list_folder,
    read_bytes,
    size_of,
)

# Weights of more records, 64 MiB, are mapped and their checksum is not checked.
_MOST_READ = 32 << 20
_FILES = frozenset((BITS, WEIGHTS, SELECTION))


@dataclass(frozen=True)
class Selection:
    """A selection on disk.

    Attributes:
        path: Path of its folder.
        manifest: What its `selection.json` states.
        words: uint64[num_blocks], the bits of all shards of the dataset.
        weights: uint16[num_records]; None without weights.
    """

    path: str
    manifest: SelectionManifest
    words: UInt64s
    weights: NDArray[np.uint16] | None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return os.path.basename(self.path.rstrip("/"))

    @property
    def num_examples(self) -> int:
        """Number of selected records in all shards."""
        return sum(self.manifest.num_examples)

    def holds(self, shard: BaseShard, row: int) -> bool:
        """Returns whether a record of a shard is selected."""
        chosen = self.of([shard])
        return chosen is not None and bool(
            unpack(chosen.words, [shard.num_examples])[row]
        )

    def of(self, shards: Sequence[BaseShard]) -> Chosen | None:
        """Returns what is chosen of some shards; None if not all are in the base."""
        places = {shard: place for place, shard in enumerate(self.manifest.base)}
        if any(shard not in places for shard in shards):
            return None
        which = [places[shard] for shard in shards]
        counts = [shard.num_examples for shard in self.manifest.base]
        words = _parts(self.words, list(map(num_blocks, counts)), which)
        weights = None if self.weights is None else _parts(self.weights, counts, which)
        return Chosen(words, weights)


def _parts(
    values: NDArray[Any], counts: Sequence[int], which: Sequence[int]
) -> NDArray[Any]:
    """Returns the values of some shards, in their order, end to end."""
    if list(which) == list(range(len(counts))):
        return values
    ends = np.cumsum(counts)
    parts = [values[ends[place] - counts[place] : ends[place]] for place in which]
    return np.concatenate([values[:0], *parts])


def open_selection(path: str) -> Selection:
    """Opens a selection, and verifies its bits.

    Raises:
        DatasetError: It is not complete, or damaged.
    """
    file = os.path.join(path, SELECTION)
    bits = begin_reading(path, read_bytes, os.path.join(path, BITS))
    try:
        manifest = parse_selection(read_bytes(file), file)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{path} is not a selection: it has no {SELECTION}. Make it with diptych "
            "select"
        ) from None
    words = parse_words(_checked(bits, path, BITS, manifest))
    stated = [num_blocks(shard.num_examples) for shard in manifest.base]
    ends = np.concatenate([[0], np.cumsum(stated, dtype=np.int64)])
    sums = np.concatenate([[0], np.cumsum(np.bitwise_count(words), dtype=np.int64)])
    if len(words) != ends[-1] or (
        np.diff(sums[ends]).tolist() != list(manifest.num_examples)
    ):
        raise DatasetError(
            f"{path} is damaged ({BITS} has other counts than {SELECTION}): select "
            "again"
        )
    return Selection(path, manifest, words, _weights(path, manifest))


def _weights(path: str, manifest: SelectionManifest) -> NDArray[np.uint16] | None:
    if WEIGHTS not in manifest.files:
        return None
    num = sum(shard.num_examples for shard in manifest.base)
    file = os.path.join(path, WEIGHTS)
    if num > _MOST_READ and not is_remote(path):
        _check_size(file, 2 * num)
        return parse_weights(np.memmap(file, mode="r"))
    read = partial(read_bytes, file)
    weights = parse_weights(_checked(read, path, WEIGHTS, manifest))
    if len(weights) != num:
        raise DatasetError(
            f"{file} is damaged: it has {len(weights)} weights for {num}"
        )
    return weights


def _check_size(file: str, wanted: int) -> None:
    try:
        size = size_of(file)
    except FileNotFoundError:
        raise DatasetError(f"{file} is missing: select again") from None
    if size != wanted:
        raise DatasetError(f"{file} has {size} bytes, not {wanted}: select again")


def _checked(
    read: Callable[[], bytes], path: str, name: str, manifest: SelectionManifest
) -> bytes:
    file = os.path.join(path, name)
    try:
        data = read()
    except FileNotFoundError:
        raise DatasetError(f"{file} is missing: select again") from None
    if crc32c_hex(data) != manifest.files.get(name):
        raise DatasetError(
            f"{file} is damaged (its checksum differs from {SELECTION}): select again"
        )
    return data


def selections_of(dataset: ManifestDataset) -> list[str]:
    """Returns the paths of the selections in a dataset's folder, sorted."""
    folder = dataset.path(SELECTIONS_DIR)
    if not is_folder(folder):
        return []
    names = [name for name in list_folder(folder) if not name.startswith(".")]
    paths = [os.path.join(folder, name) for name in names]
    return [path for path in paths if is_folder(path)]


class Listed(NamedTuple):
    """A selection in a dataset's folder.

    Attributes:
        name: Its name.
        path: Path of its folder.
        selection: The selection; None if it cannot be used.
        problem: Why it cannot be used; None if it can.
    """

    name: str
    path: str
    selection: Selection | None
    problem: str | None


def list_selections(dataset: ManifestDataset) -> list[Listed]:
    """Returns the selections in a dataset's folder, sorted by name."""
    listed = []
    for path in selections_of(dataset):
        selection, problem = None, None
        try:
            selection = open_selection(path)
            problem = mismatch(selection, [[*map(base_of, dataset.manifest.shards)]])
        except (DatasetError, OSError) as error:
            problem = str(error)
        usable = None if problem else selection
        listed.append(Listed(os.path.basename(path), path, usable, problem))
    return listed


def mismatch(
    selection: Selection, datasets: Sequence[Sequence[BaseShard]]
) -> str | None:
    """Returns why a selection belongs to none of some datasets; None if it does.

    Args:
        selection: The selection.
        datasets: The shards to read of each dataset.
    """
    base = selection.manifest.base
    if any({*shards} <= {*base} for shards in datasets):
        return None
    by_file = {shard.file: shard for shard in base}
    for shard in itertools.chain(*datasets):
        former = by_file.get(shard.file)
        if former is not None and former != shard:
            return (
                f"{selection.path} is a selection of another build: {shard.file} had "
                f"{former.num_examples} records and the checksum {former.crc32c}, and "
                f"now has {shard.num_examples} and {shard.crc32c or 'none'}. Select "
                "again"
            )
    files = ", ".join(itertools.islice(by_file, 2))
    return (
        f"{selection.path} is a selection of another dataset, with the shards {files} "
        "and so on: pass one of this dataset"
    )


def check_target(path: str) -> None:
    """Checks that a selection may be written to a path, or replace what is there.

    Raises:
        UsageError: Something other than a selection, complete or not, is there.
    """
    path = path.rstrip("/")
    if not os.path.lexists(path):
        return
    is_plain_folder = os.path.isdir(path) and not os.path.islink(path)
    if not is_plain_folder or not _FILES.issuperset(os.listdir(path)):
        raise UsageError(
            f"{path} exists and is not a selection: remove it, or write elsewhere"
        )


def write_selection(
    path: str,
    manifest: SelectionManifest,
    files: Mapping[str, bytes],
    *,
    overwrite: bool,
) -> bool:
    """Writes a selection, which appears as a whole or not at all.

    Args:
        path: Path of its folder.
        manifest: Fields of `selection.json`.
        files: Its other files, `{name: data}`.
        overwrite: Whether to replace another selection.

    Returns:
        False if just this selection is there already.

    Raises:
        UsageError: Something else is there.
    """
    path = path.rstrip("/")
    parent, name = os.path.split(path)
    os.makedirs(parent or ".", exist_ok=True)
    contents = {**files, SELECTION: dump_selection(manifest)}
    with _locked(parent or "."):
        check_target(path)
        partial, former = (
            os.path.join(parent, f".{name}.{what}") for what in ("partial", "former")
        )
        for leftover in (partial, former):  # Of a process that was killed.
            shutil.rmtree(leftover, ignore_errors=True)
        if _holds(path, contents):
            return False
        if os.path.lexists(path) and not overwrite:
            raise UsageError(
                f"{path} exists and differs: pass --overwrite, or another name"
            )
        os.mkdir(partial)
        for file, content in contents.items():
            with open(os.path.join(partial, file), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        if os.path.lexists(path):
            os.rename(path, former)
        os.rename(partial, path)
        shutil.rmtree(former, ignore_errors=True)
        return True


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lets other processes that write selections in a folder wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # A file system without locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holds(path: str, contents: Mapping[str, bytes]) -> bool:
    """Returns whether a folder holds just these files, intact."""
    if not os.path.isdir(path) or {*os.listdir(path)} != {*contents}:
        return False
    return all(
        read_bytes(os.path.join(path, file)) == data for file, data in contents.items()
    )
