"""Datasets of photographs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from photographs import Stored, unpacked
from PIL import Image

from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard


@pytest.fixture(scope="session")
def photographs(shared_data, tmp_path_factory) -> Path:
    """Every eighth shared photograph and the one of most extreme aspect ratio."""
    folder = tmp_path_factory.mktemp("photographs")
    files = sorted((shared_data / "pairs/images").iterdir())

    def thinness(file: Path) -> float:
        with Image.open(file) as image:
            return max(image.size) / min(image.size)

    for file in {*files[::8], max(files, key=thinness)}:
        shutil.copy(file, folder)
        shutil.copy(shared_data / f"pairs/captions/{file.stem}.txt", folder)
    return folder


@pytest.fixture(scope="session")
def stored_as(photographs, build, tmp_path_factory) -> Callable[[str], Stored]:
    """`stored_as("png")` has shorter sides of 256 pixels; `"full"`, original JPEGs."""
    made: dict[str, Stored] = {}

    def stored_as(name: str) -> Stored:
        if name not in made:
            form = "jpeg" if name == "full" else name
            folder = build(
                photographs,
                photographs,
                tmp_path_factory.mktemp(name) / "out",
                image_format=form,
                resize="none" if name == "full" else "shorter_side",
                num_shards=2,
            )
            shards = sorted(folder.glob("train-*.tfrecord"))
            pictures = [
                unpacked(parse_example(record.data))
                for shard in shards
                for record in read_shard(str(shard))
            ]
            made[name] = Stored(folder, form, pictures)
        return made[name]

    return stored_as


@pytest.fixture(scope="session")
def v2(torchvision) -> Any:
    """Functional transforms of torchvision."""
    return torchvision.transforms.v2.functional
