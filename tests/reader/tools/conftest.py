"""Fixtures that run commands in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flawed import write_flawed_sample

from beam_jobs.__main__ import main


class Done(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def diptych(capsys) -> Callable[..., Done]:
    """`diptych("show", folder)` runs a command."""

    def run(*args: object) -> Done:
        capsys.readouterr()
        status = main([str(arg) for arg in args])
        return Done(status, *capsys.readouterr())

    return run


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
