"""Finds layers and selections that a new build of their dataset leaves behind."""

import os
from collections.abc import Iterator

from beam_jobs.storage.files import read_if_exists, scan
from reader.contract.additions.base_shard import BaseShard, base_of
from reader.contract.additions.layer import LAYER, parse_layer
from reader.contract.additions.selection import SELECTION, parse_selection
from reader.contract.errors import DatasetError
from reader.contract.layout import LAYERS_DIR, SELECTIONS_DIR
from reader.contract.manifest import Manifest


def left_behind(output: str, manifest: Manifest) -> list[str]:
    """Returns the folders of layers and selections of another build of the dataset.

    Readers refuse them for this build. A folder is returned such as `layers/recap`.

    Args:
        output: Folder of the dataset.
        manifest: Its manifest.
    """
    base = tuple(map(base_of, manifest.shards))
    return sorted(name for name, of in _bases(output) if of != base)


def _bases(output: str) -> Iterator[tuple[str, tuple[BaseShard, ...] | None]]:
    """Yields the folder and the base of each layer and selection."""
    for folder, file in ((LAYERS_DIR, LAYER), (SELECTIONS_DIR, SELECTION)):
        for listed in scan(os.path.join(output, folder)):
            path = os.path.join(output, folder, listed.name, file)
            data = read_if_exists(path)
            if data is not None:
                yield f"{folder}/{listed.name}", _base_in(data, file, path)


def _base_in(data: bytes, file: str, path: str) -> tuple[BaseShard, ...] | None:
    try:
        parse = parse_layer if file == LAYER else parse_selection
        return parse(data, path).base
    except DatasetError:
        return None  # Damaged, so it fits no build.
