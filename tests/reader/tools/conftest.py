"""Fixtures for the commands."""

from pathlib import Path

import pytest
from flawed import write_flawed_sample


@pytest.fixture(scope="session")
def flawed(build, tmp_path_factory) -> tuple[Path, Path]:
    """Sources with an unpaired caption and a bad image, and their dataset."""
    source = write_flawed_sample(tmp_path_factory.mktemp("flawed") / "source", 40)
    out = build(
        source / "images",
        source / "captions",
        source.parent / "out",
        num_shards=2,
        max_rejects="50%",
    )
    return source, out
