"""Sources on the Hugging Face hub: what the same files on a disk give."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from built_datasets import file_of, picture
from hub_tables import write_table
from stand_ins.hub import Hub, serve_hub

from beam_jobs.__main__ import main
from beam_jobs.storage import files

FLAGS = ("--num_shards=3", "--tokenizer=bytes", "--workers=1")
NUM = 24


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Two tables, and a folder of the same pictures."""
    folder, rng = tmp_path_factory.mktemp("hub") / "s", random.Random(0)
    for part in range(2):
        names = [f"{part * NUM // 2 + n:03d}.jpg" for n in range(NUM // 2)]
        data = [file_of(picture(rng, 30, 40), "JPEG") for _ in names]
        cells = [{"bytes": d, "path": n} for n, d in zip(names, data, strict=True)]
        texts = [f"Picture {name}" for name in names]
        write_table(folder / f"data/train-{part}.parquet", cells, texts, group=5)
        (folder / "files").mkdir(exist_ok=True)
        for name, content in zip(names, data, strict=True):
            (folder / "files" / name).write_bytes(content)
            text = folder / "files" / name.replace(".jpg", ".txt")
            text.write_text(f"Picture {name}")
    return folder


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    yield from serve_hub()


@pytest.fixture
def hub(served, monkeypatch) -> Iterator[Hub]:
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    files._hub.cache_clear()
    served.requests.clear()
    yield served
    files._hub.cache_clear()


def build(table: object, output: Path, *flags: str) -> int:
    named = ("--image_column=image", "--caption_column=text")
    return main(
        ["build", f"--table={table}", f"--output={output}", *FLAGS, *named, *flags]
    )


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


@pytest.fixture(scope="module")
def local(source, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("local") / "out"
    assert build(f"{source}/data/train-*.parquet", output) == 0
    return shards(output)


def test_tables_of_the_hub(hub, source, local, tmp_path):
    hub.private.add("user/tables")
    address = hub.upload(source, "user/tables")
    hub.failures += [503, 500]
    output = tmp_path / "out"
    assert build(f"{address}/data/train-*.parquet", output) == 0
    assert shards(output) == local
    assert [one.status for one in hub.requests].count(503) == 1


def test_a_revision_and_a_folder(hub, source, local, tmp_path):
    hub.upload(source, "user/versions", "refs/convert/parquet")
    hub.repos["user/versions"]["main"] = {"README.md": b"nothing"}
    root = "hf://datasets/user/versions@refs/convert/parquet"
    assert build(f"{root}/data/train-*.parquet", tmp_path / "tables") == 0
    assert shards(tmp_path / "tables") == local
    flags = (f"--images={root}/files", f"--captions={root}/files", *FLAGS)
    assert main(["build", *flags, f"--output={tmp_path}/folder"]) == 0
    assert shards(tmp_path / "folder") == local


def test_a_commit_is_kept_while_a_branch_moves(hub):
    repo = hub.repos.setdefault("user/moving", {})
    repo["main"] = {"data/a.txt": b"first"}
    address = "hf://datasets/user/moving/data/a.txt"
    status = files.status_of(address)
    assert (
        files.read_file(address, offset=1, at_most=3, version=status.version) == b"irs"
    )
    repo["old"], repo["main"] = repo["main"], {"data/a.txt": b"other"}
    assert files.read_file(address) == b"first"
    files._hub.cache_clear()
    with pytest.raises(OSError, match="Changed since"):
        files.read_file(address, version=status.version)
    assert files.read_file(address) == b"other"


def test_what_the_hub_does_not_have_is_named(hub, source, tmp_path, diptych):
    address = hub.upload(source, "user/some")

    def said(table: str, output: object = tmp_path / "out") -> str:
        done = diptych("build", f"--table={table}", f"--output={output}", *FLAGS)
        assert done.status in (1, 2)
        return done.err

    assert "no such file" in said(f"{address}/data/test-*.parquet")
    assert "repository not found" in said("hf://datasets/user/none/a.parquet")
    assert "hf://datasets/USER/NAME/PATH" in said("hf://user/some/a.parquet")
    table = f"{address}/data/train-0.parquet"
    assert "is not written to the hub" in said(table, f"{address}/out")
