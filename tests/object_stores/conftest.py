"""The stores, and a source with something of everything in it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample

_LIMIT = "--max_rejects=10%"
_SHAPE = ("--splits=train=0.7,validation=0.3", "--num_shards=6")


@pytest.fixture(scope="session", params=["gs", "s3", "az"])
def session_store(request: pytest.FixtureRequest) -> Any:
    """Each of the stores in turn; slow files of tests ask for two of them."""
    names = {"gs": "bucket_store", "s3": "s3_store", "az": "azure_store"}
    return request.getfixturevalue(names[request.param])


@pytest.fixture
def store(session_store: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store, with an account in this process."""
    for name, value in session_store.environment.items():
        monkeypatch.setenv(name, value)
    return session_store


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in folders, names that are awkward in addresses, and a few that fail."""
    folder = tmp_path_factory.mktemp("buckets") / "s"
    write_sample(str(folder), 60)
    one = folder / "images/scene-00001.jpg"
    names = ("deep/er/a b", "100%", "#1", "é", "[1]", "st*r", "q?", "+", "a.b")
    for name in names:
        for kind, suffix in (("images", "jpg"), ("captions", "txt")):
            path = folder / kind / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == "jpg":
                shutil.copy(one, path)
            else:
                path.write_text(f"a picture called {name}")
    (folder / "captions/alone.txt").write_text("a caption with no picture")
    (folder / "images/broken.png").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "captions/broken.txt").write_text("a picture that is none")
    (folder / "images/empty.png").write_bytes(b"")
    (folder / "captions/empty.txt").write_text("nothing")
    (folder / "images/.hidden.png").write_bytes(b"")
    (folder / "images/notes.doc").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def run_build() -> Callable[..., int]:
    """`run_build(images=…, captions=…, output=…, *flags)` builds; its status."""

    def run_build(*flags: str, **paths: object) -> int:
        named = [f"--{name}={path}" for name, path in paths.items()]
        limit = [] if any("--max_rejects" in flag for flag in flags) else [_LIMIT]
        return main(["build", *named, *_SHAPE, *limit, *flags])

    return run_build


def files_below(folder: Path) -> dict[str, bytes]:
    """Returns `{relative path: content}`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def local(
    source: Path,
    run_build: Callable[..., int],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """The dataset's files, built of folders here into a folder here."""
    output = tmp_path_factory.mktemp("local") / "out"
    images, captions = source / "images", source / "captions"
    assert run_build(images=images, captions=captions, output=output) == 0
    return files_below(output)


@pytest.fixture
def uploaded(store: Any, source: Path, tmp_path: Path) -> str:
    """The source in a bucket, for one test to change."""
    address: str = store.upload(source, f"{tmp_path.name}/s")
    return address


@pytest.fixture
def output(uploaded: str) -> str:
    """A folder in the bucket that is not there yet."""
    return uploaded.removesuffix("/s") + "/out"
