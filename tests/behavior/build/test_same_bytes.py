"""Builds of the same input give the same bytes."""

import os
import random
import shutil
from pathlib import Path

import pytest
from built_datasets import (
    EVERYTHING,
    all_records,
    build,
    contents,
    paths_below,
    put_pairs,
)

from beam_jobs.config.job_config import JobConfig
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import run

# The same bytes.


def copy_in_another_order(source: Path, target: Path, seed: int) -> None:
    """Copies a tree, creating its folders and files in a drawn order."""
    paths = sorted(paths_below(source))
    random.Random(seed).shuffle(paths)
    for path in paths:
        old, new = (os.path.join(os.fsencode(root), path) for root in (source, target))
        os.makedirs(os.path.dirname(new), exist_ok=True)
        if os.path.islink(old):
            os.symlink(os.readlink(old), new)
        elif os.path.isfile(old):
            shutil.copyfile(old, new)
            os.utime(new, (seed, seed))
        else:
            os.mkfifo(new)


def test_two_runs_into_two_folders_give_the_same_bytes(everything, tmp_path):
    build(everything.source, tmp_path / "elsewhere", **EVERYTHING)
    assert contents(tmp_path / "elsewhere") == contents(everything.output)


@pytest.mark.parametrize("seed", [1, 2])
def test_neither_listing_order_nor_times_nor_threads_change_a_byte(
    everything, tmp_path, seed
):
    source = tmp_path / "copy"
    copy_in_another_order(everything.source, source, seed)
    build(source, tmp_path / "out", **EVERYTHING, threads=1 + 4 * seed)
    assert contents(tmp_path / "out") == contents(everything.output)


def test_images_and_captions_may_lie_in_two_folders(everything, tmp_path):
    for path in paths_below(everything.source):
        kind = "captions" if path.endswith(b".txt") else "images"
        copy = os.path.join(os.fsencode(tmp_path / kind), path)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        whole = os.path.join(os.fsencode(everything.source), path)
        if os.path.islink(whole):
            os.symlink("nowhere", copy)
        elif os.path.isfile(whole):
            shutil.copyfile(whole, copy)
        else:
            os.mkfifo(copy)
    config = JobConfig(
        images=str(tmp_path / "images"),
        captions=str(tmp_path / "captions"),
        output=str(tmp_path / "out"),
        **EVERYTHING,
        workers=1,
    )
    assert run(config, engine_options(config, [])) is not None
    assert contents(tmp_path / "out") == contents(everything.output)


def test_another_seed_gives_another_order_of_the_same_records(everything, tmp_path):
    build(everything.source, tmp_path / "out", **EVERYTHING, seed=1)

    def keys(output: Path) -> list[bytes]:
        return [r.features["image/source_id"][0] for r in all_records(output)]

    assert keys(tmp_path / "out") != keys(everything.output)
    assert sorted(keys(tmp_path / "out")) == sorted(keys(everything.output))


def test_the_source_is_left_as_it_was(tmp_path):
    source = tmp_path / "source"
    put_pairs(source, 8)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    build(source, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in source.rglob("*")}


@pytest.mark.slow
def test_the_number_of_shards_does_not_depend_on_the_number_of_workers(tmp_path):
    # Cubic interpolation, which OpenCV's IPP rounds differently where it is on.
    put_pairs(tmp_path / "source", 20)
    more = {"upscale": True, "image_size": 200, "image_format": "png"}
    plans = [
        build(
            tmp_path / "source",
            tmp_path / f"out-{workers}",
            workers=workers,
            plan_only=True,
            **more,
        ).plan
        for workers in (1, 2)
    ]
    assert plans[0].record_bytes == plans[1].record_bytes > 0
