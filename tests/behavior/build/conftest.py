"""Fixtures of the tests in this folder."""

import random

import pytest
from built_datasets import (
    EVERYTHING,
    ODD_NAMES,
    Everything,
    build,
    file_of,
    picture,
    put,
    put_pairs,
    put_rejects,
    sentence,
)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    folder = tmp_path_factory.mktemp("everything")
    source, output = folder / "source", folder / "out"
    put_pairs(source, 260)
    rng = random.Random(2)
    for name in ODD_NAMES:
        put(source, name + b".png", file_of(picture(rng), "PNG"))
        put(source, name + b".txt", sentence(rng))
    put(source, "misnamed.jpg", file_of(picture(rng), "PNG"))
    put(source, "misnamed.txt", "A PNG that is called JPEG.")
    rejected = put_rejects(source)
    put(source, ".hidden/a.png", b"")
    put(source, "notes.md", "ignored")
    return Everything(source, output, build(source, output, **EVERYTHING), rejected)
