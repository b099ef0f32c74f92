"""Limits on rejects, resuming and planning only."""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from built_datasets import NO_LIMIT, build, contents, file_of, picture, put, put_pairs

from reader.contract.errors import BuildError

# Limits, and going on.


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """40 sound pairs, 3 damaged images, 2 images without a caption."""
    source = tmp_path / "flawed"
    put_pairs(source, 40)
    jpeg = file_of(picture(random.Random(0)), "JPEG")
    for number in range(3):
        put(source, f"damaged{number}.jpg", jpeg[:-20])
        put(source, f"damaged{number}.txt", "A damaged image.")
    for number in range(2):
        put(source, f"alone{number}.jpg", jpeg)
    return source


FLAWED: dict[str, Any] = {
    "num_shards": 4,
    "max_rejects": "3",
    "max_unpaired": "2",
}


def test_limits_that_just_hold_pass(flawed, tmp_path):
    outcome = build(flawed, tmp_path / "out", **FLAWED).outcome
    assert outcome.failures == ()
    assert outcome.accounting.not_written == {"damaged_image": 3, "unpaired_image": 2}


@pytest.mark.parametrize("limit", ["2", "4.4%"])
def test_too_many_rejects_fail_and_keep_the_shards(flawed, tmp_path, limit):
    output = tmp_path / "out"
    tight = FLAWED | {"max_rejects": limit}
    outcome = build(flawed, output, **tight).outcome
    (failure,) = outcome.failures
    assert f"3 of 45 keys are rejected, more than --max_rejects={limit}" in failure
    assert not (output / "manifest.json").exists()
    kept = {path: path.stat().st_ino for path in output.glob("*.tfrecord")}
    assert len(kept) == 4
    lines = (output / "_build" / "rejects.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["reason"] for line in lines) == {
        "damaged_image": 3,
        "unpaired_image": 2,
    }
    # With a higher limit the same command finishes, and writes no shard again.
    assert build(flawed, output, **FLAWED).outcome.failures == ()
    assert kept == {path: path.stat().st_ino for path in output.glob("*.tfrecord")}
    build(flawed, tmp_path / "fresh", **FLAWED)
    assert contents(output) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("limit", ["1", "4%"])
def test_too_many_unpaired_fail_before_any_image_is_read(flawed, tmp_path, limit):
    output = tmp_path / "out"
    tight = FLAWED | {"max_unpaired": limit}
    outcome = build(flawed, output, **tight).outcome
    (failure,) = outcome.failures
    assert f"2 of 45 keys are unpaired, more than --max_unpaired={limit}" in failure
    assert not (output / "manifest.json").exists()
    assert not list(output.glob("*.tfrecord"))
    lines = (output / "_build" / "rejects.jsonl").read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == {"alone0", "alone1"}
    assert build(flawed, output, **FLAWED).outcome.failures == ()
    build(flawed, tmp_path / "fresh", **FLAWED)
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_job_that_writes_nothing_fails(tmp_path):
    put(tmp_path / "source", "a.jpg", b"")
    put(tmp_path / "source", "a.txt", "An image.")
    outcome = build(tmp_path / "source", tmp_path / "out", max_rejects=NO_LIMIT).outcome
    assert outcome.failures == ("no example could be written",)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_source_that_seems_empty_for_a_while_costs_nothing(flawed, tmp_path):
    """A network folder that is not mounted looks like an empty one."""
    output = tmp_path / "out"
    build(flawed, output, **FLAWED | {"max_rejects": "0"})
    kept = contents(output)
    flawed.rename(tmp_path / "away")
    flawed.mkdir()
    with pytest.raises(BuildError, match="no images and no captions"):
        build(flawed, output, **FLAWED)
    flawed.rmdir()
    (tmp_path / "away").rename(flawed)
    assert {name for name in kept if "commits" in name} <= set(contents(output))
    assert build(flawed, output, **FLAWED).outcome.failures == ()


def test_overwriting_from_a_source_without_files_leaves_the_dataset(flawed, tmp_path):
    build(flawed, tmp_path / "out", **FLAWED)
    before = contents(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="no images and no captions"):
        build(tmp_path / "empty", tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


# Planning only.


@pytest.fixture
def own_tmp(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_planning_only_leaves_no_output(flawed, tmp_path, own_tmp):
    result = build(flawed, tmp_path / "out", **FLAWED, plan_only=True)
    assert result.outcome is None
    assert not (tmp_path / "out").exists()
    assert list(own_tmp.iterdir()) == []
    assert result.plan.found == 45
    assert result.plan.num_pairs == 43
    assert result.plan.rejects == {"unpaired_image": 2}
    assert result.plan.num_shards == 4


def test_planning_only_plans_what_is_then_built(flawed, tmp_path):
    planned = build(flawed, tmp_path / "out", **FLAWED, plan_only=True).plan
    assert build(flawed, tmp_path / "out", **FLAWED).plan == planned


def test_planning_only_tells_of_limits_too(flawed, tmp_path, own_tmp):
    tight = FLAWED | {"max_unpaired": "0"}
    outcome = build(flawed, tmp_path / "out", **tight, plan_only=True).outcome
    assert len(outcome.failures) == 1
    assert not (tmp_path / "out").exists()
    assert list(own_tmp.iterdir()) == []


def test_planning_only_leaves_a_dataset_as_it_is(flawed, tmp_path):
    build(flawed, tmp_path / "out", **FLAWED)
    before = contents(tmp_path / "out")
    (tmp_path / "other").mkdir()
    put_pairs(tmp_path / "other", 5)
    build(tmp_path / "other", tmp_path / "out", plan_only=True)
    assert contents(tmp_path / "out") == before
