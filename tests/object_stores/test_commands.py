"""Commands that inspect a dataset in a bucket."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reader.__main__ import main
from reader.storage.files import list_folder, match
from reader.storage.tfrecord_file import read_shard


@pytest.fixture(autouse=True)
def account(store, monkeypatch):
    for name, value in store.environment_at(store.endpoint).items():
        monkeypatch.setenv(name, value)


def run(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, Any]:
    status = main([*command, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_dataset_is_verified_found_in_and_shown(store, dataset, tmp_path, capsys):
    out = store.upload(dataset, f"{tmp_path.name}/out")
    for command in (("verify", "--decode"), ("find", "scene-00001"), ("show",)):
        name, *more = command
        there, here = (run(capsys, name, str(x), *more) for x in (out, dataset))
        assert json.dumps(there).replace(out, "OUT") == json.dumps(here).replace(
            str(dataset), "OUT"
        )
        assert there[0] == 0


def test_damage_is_listed(store, dataset, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(dataset, damaged)
    shard = min(damaged.glob("train-*.tfrecord"))
    data, records = bytearray(shard.read_bytes()), list(read_shard(str(shard)))
    for place in (1, 5):
        data[records[place].offset] ^= 1
    shard.write_bytes(data)
    (damaged / "index/blocks.bin").unlink()
    out = store.upload(damaged, f"{tmp_path.name}/out")
    status, report = run(capsys, "verify", out)
    assert status == 1
    offsets = [p["offset"] for p in report["problems"] if p["offset"] is not None]
    assert offsets == [records[place].offset for place in (1, 5)]
    assert f"{out}/index/blocks.bin" in [p["path"] for p in report["problems"]]


@pytest.mark.parametrize(
    "pattern", ["a/*.txt", "*/*.txt", "a/?.txt", "a/[12].txt", "none/*", "*", "a/1.txt"]
)
def test_patterns_match_as_on_a_disk(store, tmp_path, pattern):
    folder = tmp_path / "files"
    for name in ("a/1.txt", "a/2.txt", "a/10.txt", "b/1.txt", "b/c/1.txt", "a/x.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    there = store.upload(folder, f"{tmp_path.name}/files")

    def relative(found: list[str], base: str | Path) -> list[str]:
        return [path.removeprefix(f"{base}/") for path in found]

    assert relative(match(f"{there}/{pattern}"), there) == relative(
        match(f"{folder}/{pattern}"), folder
    )
    assert list_folder(there) == list_folder(str(folder)) == ["a", "b"]
