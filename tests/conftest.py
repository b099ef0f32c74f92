"""Fixtures that all tests share.

What is session-scoped is made once and must not be changed: ask for `own_dataset` to
damage something.
"""

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Done, WithColumns, write_with_columns
from forks import Forks
from hypothesis import settings
from PIL import Image
from training_scripts import Scripts

from beam_jobs.__main__ import main
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import run
from beam_jobs.sample_data import write_sample

# The same examples in every run; the first one of a test may wait for an import.
settings.register_profile("diptych", derandomize=True, deadline=None)
settings.load_profile("diptych")

Build = Callable[..., Path]


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Imports all tests without looking for garbage among what stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keeps what was imported out of later collections: it is a million objects."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def build() -> Build:
    """`build(images, captions, output, **settings)` builds here; returns `output`."""

    def build(images: Path, captions: Path, output: Path, **more: Any) -> Path:
        folders = {"images": images, "captions": captions, "output": output}
        config = JobConfig(
            **{name: str(path) for name, path in folders.items()}, **more
        )
        run(config, engine_options(config, []))
        return output

    return build


@pytest.fixture
def diptych(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`diptych("show", folder)` runs a command in this process."""

    def run_here(*args: object) -> Done:
        capsys.readouterr()
        status = main([str(arg) for arg in args])
        return Done(status, *capsys.readouterr())

    return run_here


@pytest.fixture(scope="session")
def with_columns(tmp_path_factory: pytest.TempPathFactory) -> WithColumns:
    """120 records in four shards, with columns carried through."""
    return write_with_columns(tmp_path_factory.mktemp("with_columns"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 drawn pictures in `images/`, two captions (lines) of each in `captions/`."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(str(folder), 60, captions_per_image=2)
    return folder


@pytest.fixture(scope="session")
def dataset(
    sample: Path, build: Build, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset of `sample`: splits train and validation, four shards."""
    return build(
        sample / "images",
        sample / "captions",
        tmp_path_factory.mktemp("dataset") / "out",
        splits=parse_splits("train=0.8,validation=0.2"),
        num_shards=4,
        captions_per_file="lines",
    )


@pytest.fixture(scope="session")
def bucket_store() -> Iterator[Any]:
    """`gs://bucket`, empty at first; ask for other prefixes than other tests do.

    A process uses it with `env=os.environ | bucket_store.environment`; this one, with
    `monkeypatch.setenv` of the same. It asks for no credentials, and checks none.
    """
    from stand_ins.gcs import serve_gcs  # Not every test should wait for it.

    yield from serve_gcs()


@pytest.fixture(scope="session")
def s3_store() -> Iterator[Any]:
    """`s3://bucket`, empty at first; ask for other prefixes than other tests do."""
    from stand_ins.s3 import serve_s3

    yield from serve_s3()


@pytest.fixture(scope="session")
def azure_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`az://bucket`, empty at first; ask for other prefixes than other tests do."""
    from real_engines.had import had
    from stand_ins.azure import serve_azure

    with had("Azurite"):
        yield from serve_azure(tmp_path_factory.mktemp("azure"))


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    """A copy of `dataset`, for one test to change."""
    return Path(shutil.copytree(dataset, tmp_path / "out"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs that nobody in this project made: `DIPTYCH_DATA`, ../shared/data."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DIPTYCH_DATA", beside))
    if not folder.is_dir():
        pytest.skip(
            f"no real inputs at {folder}: set DIPTYCH_DATA, see docs/contributing.md"
        )
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs commands, each in a process that has imported Beam."""
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="session")
def scripts() -> Iterator[Scripts]:
    """Runs training scripts, each in a process that has imported TensorFlow."""
    with Scripts() as scripts:
        yield scripts


@pytest.fixture(scope="session")
def torchvision():
    """torchvision, in a process that has TensorFlow too."""
    with pytest.MonkeyPatch.context() as patch:
        # Its LLVM and TensorFlow's end the process that loads both.
        patch.setitem(sys.modules, "triton", None)
        import torchvision.models
        import torchvision.transforms.v2
    return torchvision


@pytest.fixture(scope="session")
def many(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """509 tiny images of noise in five shards; captions of 1 to 40 words."""
    source = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(509):
        noise = rng.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number:03}.png")
        words = ["word"] * int(rng.integers(0, 40))
        text = " ".join([f"number {number}", *words])
        (source / f"{number:03}.txt").write_text(text)
    return build(source, source, source / "out", num_shards=5)
