"""Fixtures of the tests in this folder."""

from pathlib import Path

import pytest
from resumed_runs import EPOCHS, NAMES, N, Rows, load, make_pictures


@pytest.fixture(scope="module")
def many(build, tmp_path_factory) -> Path:
    """700 pictures in three shards: 12 blocks, and 3 to 4 records of each stream."""
    source = make_pictures(tmp_path_factory.mktemp("many"), N)
    return build(source, source, source / "out", resize="none", num_shards=3)


@pytest.fixture(scope="module")
def line(many) -> Rows:
    """All tensors of all examples of three epochs, one after the other."""
    batches = load(many, batch_size=1, epochs=EPOCHS, outputs=NAMES)
    return [tuple(value[0] for value in batch) for batch in batches.as_numpy_iterator()]
