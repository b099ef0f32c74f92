"""Fixtures of the tests in this folder."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from damaged_shards import BLOCK, NUM, Place, places
from PIL import Image


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory) -> Path:
    """300 small pictures in three shards, each of two blocks. Not to be changed."""
    source = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    for number in range(NUM):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"{number:03d}.png")
        (source / f"{number:03d}.txt").write_text(f"{'very ' * (number % 7)}{number}")
    return build(source, source, source / "out", num_shards=3)


@pytest.fixture(scope="module")
def records(whole) -> list[Place]:
    found = places(whole)
    sizes = Counter(Counter(place.block for place in found).values())
    assert len(found) == NUM and sizes[BLOCK] == 3 and len(sizes) == 4
    return found


@pytest.fixture
def own(whole, tmp_path) -> Path:
    """A copy of `whole`, for one test to change."""
    return Path(shutil.copytree(whole, tmp_path / "out"))
