"""Datasets of small images."""

from pathlib import Path

import numpy as np
import pytest
from loaded_batches import SIZES
from PIL import Image


@pytest.fixture(scope="session")
def odd(build, tmp_path_factory) -> Path:
    """Images of unusual sizes, without chroma subsampling, so that crops are exact."""
    source = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(f"picture {number}")
    return build(source, source, source / "out", resize="none", jpeg_subsampling="444")


@pytest.fixture(scope="session")
def uniform(build, tmp_path_factory) -> Path:
    """8 images of 40 × 32 pixels."""
    source = tmp_path_factory.mktemp("uniform")
    rng = np.random.default_rng(1)
    texts = ["👍", "word " * 200, *(f"number {number}" for number in range(6))]
    for number, text in enumerate(texts):
        noise = rng.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(text, encoding="utf-8")
    return build(source, source, source / "out")
