"""`build --where`: what does not meet a condition is not written, and is counted."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from built_datasets import manifest_of, rejects_of
from PIL import Image

import reader

NUM = 120


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A table with scores, some missing, of pictures of several widths."""
    folder, rng = tmp_path_factory.mktemp("source"), random.Random(3)
    rows = [("file_name", "caption", "score", "stars")]
    for n in range(NUM):
        score = "" if n % 9 == 0 else f"{rng.random():.3f}"
        rows.append((f"{n:03}.png", f"picture {n}", score, rng.randint(1, 5)))
        pixels = np.random.default_rng(n).integers(0, 256, (9, 9 + n % 4, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:03}.png")
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def build(diptych, source: Path, out: Path, *flags: str):
    paths = (f"--table={source}/table.csv", f"--images={source}", f"--output={out}")
    splits = "--splits=train=0.8,validation=0.2"
    return diptych("build", *paths, splits, "--num_shards=3", *flags)


def keys(folder: Path, **settings: str) -> list[str]:
    return [
        key
        for split in ("train", "validation")
        for (key,) in reader.open(folder, split=split, outputs=("key",), **settings)
    ]


@pytest.mark.parametrize(
    ("where", "stage"),
    [
        ("extra/score > 0.4", "pair"),
        ("not extra/score > 0.4 and extra/stars in (1, 2, 3)", "pair"),
        ("split = 'validation' or key like '*7'", "pair"),
        ("width >= 11", "image"),
        ("extra/score is null or original_width = 9", "image"),
    ],
)
def test_the_records_are_those_that_select_would_choose(
    source, diptych, tmp_path, where, stage
):
    columns = "--columns=score:float,stars:int"
    assert build(diptych, source, tmp_path / "all", columns).status == 0
    done = build(diptych, source, tmp_path / "some", columns, f"--where={where}")
    assert done.status == 0
    assert keys(tmp_path / "some") == keys(tmp_path / "all", where=where)
    num_left = NUM - len(keys(tmp_path / "some"))
    assert num_left > 0
    manifest = manifest_of(tmp_path / "some")
    assert manifest["books"]["not_written"] == {"where_not_met": num_left}
    assert {line["stage"] for line in rejects_of(tmp_path / "some")} == {stage}
    assert manifest["config"]["where"] == where
    assert "where" not in manifest_of(tmp_path / "all")["config"]
    assert diptych("verify", tmp_path / "some").status == 0


def test_a_column_need_not_be_stored_to_be_asked(source, diptych, tmp_path):
    flags = ("--where_columns=score:float", "--where=extra/score >= 0.5")
    assert build(diptych, source, tmp_path / "out", *flags).status == 0
    with (source / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = [
        row["file_name"][:3]
        for row in rows
        if row["score"] and np.float32(row["score"]) >= 0.5
    ]
    assert sorted(keys(tmp_path / "out")) == wanted
    features = [f["key"] for f in manifest_of(tmp_path / "out")["features"]]
    assert not [key for key in features if key.startswith("extra/")]
    mixed = (
        "--columns=stars:int",
        "--where_columns=score:float",
        "--where=extra/score >= 0.5 and width > 9 and extra/stars < 5",
    )
    assert build(diptych, source, tmp_path / "mixed", *mixed).status == 0
    stored = reader.open(tmp_path / "mixed", split="train", outputs=("extra/stars",))
    assert stored
    assert all(stars < 5 for (stars,) in stored)


def test_images_that_are_left_out_are_not_read(source, diptych, tmp_path):
    for n in range(NUM):
        (tmp_path / f"{n:03}.png").write_bytes(b"no image at all")
    (tmp_path / "007.png").write_bytes((source / "007.png").read_bytes())
    (tmp_path / "table.csv").write_bytes((source / "table.csv").read_bytes())
    done = build(diptych, tmp_path, tmp_path / "out", "--where=key = '007'")
    assert done.status == 0
    books = manifest_of(tmp_path / "out")["books"]
    assert books["not_written"] == {"where_not_met": NUM - 1}


def test_a_duplicate_takes_the_place_of_what_is_left_out(source, diptych, tmp_path):
    (tmp_path / "a.png").write_bytes((source / "001.png").read_bytes())
    (tmp_path / "b.png").write_bytes((source / "001.png").read_bytes())
    rows = [("file_name", "caption", "score"), ("a.png", "A", 0.1), ("b.png", "B", 0.9)]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    flags = ("--columns=score:float", "--dedupe=exact", "--max_rejects=100%")
    for n, where in enumerate(("extra/score > 0.5", "extra/score > 0.5 and width > 1")):
        out = tmp_path / f"out{n}"
        done = build(diptych, tmp_path, out, *flags, f"--where={where}")
        assert done.status == 0
        assert keys(out) == ["b"]
        assert manifest_of(out)["books"]["not_written"] == {"where_not_met": 1}


def test_wrong_conditions_are_told_before_any_work(source, diptych, tmp_path):
    for flags, message in (
        (["--where=extra/score > 1"], "no column extra/score"),
        (["--where=width >"], "character 8"),
        (["--where=length > 9"], "no column length"),
        (["--where_columns=score:float"], "where_columns needs where"),
        (
            ["--columns=score:float", "--where_columns=score:int", "--where=width > 1"],
            "score is in columns and in where_columns",
        ),
    ):
        done = build(diptych, source, tmp_path / "out", *flags)
        assert done.status == 2
        assert message in done.err
        assert not (tmp_path / "out").exists()


def test_if_nothing_is_left_the_job_fails_and_says_so(source, diptych, tmp_path):
    done = build(diptych, source, tmp_path / "out", "--where=width > 100")
    assert done.status == 1
    assert f"{NUM} where_not_met" in done.out
    assert "no example could be written" in done.err
