"""Whole jobs from tables with pictures in them: the shards of the same files."""

import csv
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from built_datasets import file_of, picture
from forks import commits
from hub_tables import write_table

from beam_jobs.__main__ import main

NUM = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """`hub/data/train-….parquet`, and `folder` with the same pictures as files."""
    work = tmp_path_factory.mktemp("pictures")
    rng = random.Random(0)
    formats = [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")]
    pictures = []
    for number in range(NUM):
        suffix, format = formats[number % 3]
        data = file_of(picture(rng, 20 + number % 5, 30), format)
        pictures.append({"bytes": data, "path": f"{number:03d}.{suffix}"})
    pictures[7]["bytes"] = b"<html>404 Not Found</html>"
    pictures[11]["bytes"] = b""
    pictures[13]["bytes"] = pictures[12]["bytes"]
    texts = [f"Picture {number}." for number in range(NUM)]
    for part in range(2):
        rows = slice(part * NUM // 2, (part + 1) * NUM // 2)
        path = work / f"hub/data/train-{part:05d}-of-00002.parquet"
        write_table(path, pictures[rows], texts[rows], group=7)
    (work / "folder").mkdir()
    for one in pictures:
        (work / "folder" / one["path"]).write_bytes(one["bytes"])
    with (work / "folder/metadata.csv").open("w", newline="") as file:
        names = [one["path"] for one in pictures]
        rows = [("file_name", "text"), *zip(names, texts, strict=True)]
        csv.writer(file).writerows(rows)
    return work


def args(source: Path, output: Path, *more: str) -> list[str]:
    table = f"--table={source}/hub/data/train-*.parquet"
    return ["build", table, f"--output={output}", *FLAGS, *more]


FLAGS = ("--num_shards=5", "--max_rejects=10%", "--tokenizer=bytes")
NAMED = ("--image_column=image", "--caption_column=text")


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


@pytest.fixture(scope="module")
def built(source, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("built") / "out"
    assert main(args(source, output, *NAMED)) == 0
    return output


def test_the_shards_are_those_of_the_same_files(source, built, tmp_path, diptych):
    images = f"--images={source}/folder"
    assert main(["build", images, f"--output={tmp_path}/out", *FLAGS]) == 0
    assert len(shards(built)) == 5
    assert shards(built) == shards(tmp_path / "out")
    rejects = [json.loads(line) for line in (built / "rejects.jsonl").open()]
    assert {(one["key"], one["reason"]) for one in rejects} == {
        ("007", "not_an_image"),
        ("011", "not_an_image"),
    }
    assert rejects[0]["source"][0].startswith("train-00000-of-00002.parquet/")
    assert not (built / "_build").exists()
    assert diptych("verify", built).status == 0


def test_equal_pictures_are_found(source, tmp_path, diptych):
    flags = ("--dedupe=exact",)
    plan = diptych(*args(source, tmp_path / "out", *flags, "--plan_only"))
    assert plan.status == 0
    assert not (tmp_path / "out").exists()
    assert main(args(source, tmp_path / "out", *flags)) == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert manifest["books"]["not_written"] == {"duplicate_of": 1, "not_an_image": 2}
    assert manifest["books"]["written"] == NUM - 3


def test_a_killed_job_does_not_read_the_pictures_again(forks, source, built, tmp_path):
    own = Path(shutil.copytree(source / "hub", tmp_path / "own/hub")).parent
    output = tmp_path / "out"
    forks.kill_once(args(own, output), lambda: commits(output) >= 1)
    for table in own.rglob("*.parquet"):
        data, times = table.read_bytes(), table.stat()
        assert data.count(b"JFIF") >= 8
        table.write_bytes(data.replace(b"\xff\xd8", b"__"))
        os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert main(args(own, output)) == 0
    assert shards(output) == shards(built)


def test_a_finished_dataset_knows_its_tables(source, tmp_path, diptych):
    table, output = tmp_path / "data/train-0.parquet", tmp_path / "out"
    first = source / "hub/data/train-00000-of-00002.parquet"
    table.parent.mkdir()
    table.write_bytes(first.read_bytes())
    command = ["build", f"--table={table}", f"--output={output}", *FLAGS]
    assert main(command) == 0
    before = shards(output)
    assert "complete already" in diptych(*command).out
    shard = output / "train-00002-of-00005.tfrecord"
    os.truncate(shard, 100)
    assert main([*command, "--repair"]) == 0
    assert shards(output) == before
    rng = random.Random(1)
    pictures = [file_of(picture(rng, 40, 40), "JPEG") for _ in range(NUM // 2)]
    cells = [{"bytes": p, "path": f"{n:03d}.jpg"} for n, p in enumerate(pictures)]
    write_table(table, cells, [f"Picture {n}." for n in range(NUM // 2)], group=7)
    again = diptych(*command)
    assert again.status == 1
    assert "built from other files" in again.err
