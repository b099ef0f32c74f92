"""Tests that an unfinished job reports changed sources, libraries and settings."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy
import pyarrow.parquet as pq
import pytest

from beam_jobs.__main__ import main
from beam_jobs.planning.job_plan import dump_plan, parse_plan
from beam_jobs.sample_data import write_sample

ADVICE = "choose another --output or pass --overwrite"


class Unfinished(NamedTuple):
    """A job that was killed with two of its four shards committed, and its sources."""

    source: Path
    output: Path

    def run(self, *more: str) -> int:
        return main(args(self.source, self.output, *more))

    def image(self, number: int) -> Path:
        return next(self.source.glob(f"images/scene-{number:05d}.*"))

    def caption(self, number: int) -> Path:
        return self.source / f"captions/scene-{number:05d}.txt"


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    shards = [] if any("--num_shards" in flag for flag in more) else ["--num_shards=4"]
    return ["build", *folders, f"--output={output}", *shards, *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def killed(forks, tmp_path_factory) -> Unfinished:
    folder = tmp_path_factory.mktemp("killed")
    job = Unfinished(folder / "s", folder / "out")
    write_sample(str(job.source), 24)
    steps = forks.run(args(job.source, folder / "whole")).steps
    commits = [place for place, step in enumerate(steps) if _commits(step)]
    command = args(job.source, job.output)
    assert forks.run(command, kill_at=commits[2]).status == -signal.SIGKILL
    assert len(list(job.output.glob("_build/commits/*"))) == 2
    return job


def _commits(step: str) -> bool:
    return step.startswith("replace") and "/_build/commits/" in step


@pytest.fixture
def job(killed, tmp_path) -> Unfinished:
    """A copy of the unfinished job with the same modification times."""
    folder = Path(shutil.copytree(killed.source.parent, tmp_path / "copy"))
    return Unfinished(folder / "s", folder / "out")


def error_of(capfd) -> str:
    """Returns the only line on stderr."""
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("diptych: error: ")
    return line


def add(job: Unfinished, *names: str) -> None:
    for name in names:
        image = job.image(0)
        shutil.copy(image, job.source / f"images/{name}{image.suffix}")
        shutil.copy(job.caption(0), job.source / f"captions/{name}.txt")


def remove(job: Unfinished, *numbers: int) -> None:
    for number in numbers:
        job.image(number).unlink()
        job.caption(number).unlink()


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def swap_letters(file: Path) -> None:
    """Changes a caption without changing its size or its words' counts."""
    size, words = file.stat().st_size, file.read_text().split()
    file.write_text(" ".join([*words[1:], words[0]]) + "\n")
    assert file.stat().st_size == size


def change_last_bytes(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-4] + bytes(byte ^ 1 for byte in data[-4:]))


def finished(job: Unfinished) -> list[int]:
    """The numbers of the scenes in finished shards."""
    return [
        int(row["key"].rpartition("-")[2])
        for commit in sorted(job.output.glob("_build/commits/*"))
        for row in pq.read_table(
            job.output / f"samples/{commit.stem}.parquet"
        ).to_pylist()
    ]


def rename(job: Unfinished) -> None:
    image = job.image(3)
    image.rename(image.with_stem("other"))
    job.caption(3).rename(job.source / "captions/other.txt")


CHANGES = {
    "one came": (lambda job: add(job, "late"), ["1 pair was added (late)"]),
    "five came": (
        lambda job: add(job, *"edcba"),
        # Lists are sorted by hash, so the names shown are not sorted.
        ["5 pairs were added (", ", …)"],
    ),
    "one went": (lambda job: remove(job, 5), ["1 pair was removed (scene-00005)"]),
    "four went": (
        lambda job: remove(job, 1, 2, 3, 4),
        ["4 pairs were removed (", ", …)"],
    ),
    "a finished caption changed, but not its size": (
        lambda job: swap_letters(job.caption(finished(job)[0])),
        ["1 pair was changed or touched (scene-"],
    ),
    "a finished image changed, but not its size": (
        lambda job: change_last_bytes(job.image(finished(job)[-1])),
        ["1 pair was changed or touched (scene-"],
    ),
    "a finished image changed, and all were touched": (
        lambda job: (restore(job), change_last_bytes(job.image(finished(job)[0]))),
        ["24 pairs were changed or touched (scene-"],
    ),
    "one came, and all were touched": (
        lambda job: (restore(job), add(job, "late")),
        ["1 pair was added (late)", "24 pairs were changed or touched (scene-"],
    ),
    "an image was replaced": (
        lambda job: shutil.copyfile(job.image(1), job.image(2)),
        ["1 pair was changed (scene-00002)"],
    ),
    "a caption was written anew": (
        lambda job: job.caption(2).write_text("something else"),
        ["1 pair was changed (scene-00002)"],
    ),
    "one was renamed": (
        rename,
        ["1 pair was added (other)", "1 pair was removed (scene-00003)"],
    ),
    "a name is no text": (
        lambda job: add(job, os.fsdecode(b"no\xfftext\n")),
        ["1 pair was added (no%FFtext"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_in_the_sources_is_told(job, change, capfd):
    make, expected = CHANGES[change]
    before = contents(job.output)
    make(job)
    # A second run gives the same error, because the plan of the shards is kept.
    for _ in range(2):
        assert job.run() == 1
        message = error_of(capfd)
        assert f"{job.output} holds 2 shards that an earlier attempt wrote" in message
        for words in (*expected, ADVICE):
            assert words in message, message
        after = contents(job.output)
        assert {f: after[f] for f in _done(before)} == _done(before)


def _done(files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the shards and commit records among files."""
    commits = {file for file in files if file.startswith("_build/commits/")}
    return {f: files[f] for f in files if f in commits or f.startswith("train-")}


def test_sources_that_are_as_they_were_again_are_gone_on_with(killed, job, capfd):
    kept = job.caption(2).read_text(), job.caption(2).stat().st_mtime_ns
    job.caption(2).write_text("something else")
    assert job.run() == 1
    job.caption(2).write_text(kept[0])
    os.utime(job.caption(2), ns=(kept[1], kept[1]))
    done = {f.name: f.stat().st_ino for f in job.output.glob("train-*")}
    assert job.run() == 0
    assert contents(job.output) == contents(killed.source.parent / "whole")
    for name in (c.stem for c in killed.output.glob("_build/commits/*")):
        assert (job.output / f"{name}.tfrecord").stat().st_ino == done[
            f"{name}.tfrecord"
        ]


def restore(job: Unfinished) -> None:
    """Gives every source the times of a copy made now."""
    for file in job.source.glob("*/*"):
        touch(file)


@pytest.mark.parametrize("change", ["all", "one image", "one caption"])
def test_sources_with_other_times_only_are_gone_on_with(killed, job, change):
    if change == "all":
        restore(job)
    else:
        number = finished(job)[0]
        touch(job.image(number) if change == "one image" else job.caption(number))
    kept = {c.stem for c in job.output.glob("_build/commits/*")}
    nodes = {name: (job.output / f"{name}.tfrecord").stat().st_ino for name in kept}
    assert job.run() == 0
    assert contents(job.output) == contents(killed.source.parent / "whole")
    for name, node in nodes.items():
        assert (job.output / f"{name}.tfrecord").stat().st_ino == node


def test_a_shard_with_a_touched_reject_is_written_again(forks, job, tmp_path):
    """Nothing tells what a rejected image was like: it may have been mended."""
    label = sorted(job.output.glob("_build/commits/*"))[0].stem
    number = finished(job)[0]
    image = job.image(number)
    whole, times = image.read_bytes(), image.stat()
    image.write_bytes(bytes(len(whole)))
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    (job.output / f"_build/commits/{label}.json").unlink()
    limit = "--max_rejects=1"
    command = args(job.source, job.output, limit)
    steps = forks.run(
        [*command[:3], f"--output={tmp_path / 'try'}", *command[4:]]
    ).steps
    last = [place for place, step in enumerate(steps) if _commits(step)][-1]
    assert forks.run(command, kill_at=last).status == -signal.SIGKILL
    image.write_bytes(whole)
    assert job.run(limit) == 0
    assert manifest_of(job)["books"]["written"] == 24


def manifest_of(job: Unfinished) -> dict:
    return json.loads((job.output / "manifest.json").read_bytes())


def pretend_numpy(job: Unfinished, version: str) -> None:
    """Changes the NumPy version in the plan of the first attempt."""
    path = job.output / "_build/plan/plan.json"
    plan = parse_plan(path.read_bytes())
    versions = {**plan.versions, "numpy": version}
    plan = dataclasses.replace(plan, versions=versions, sources="0" * 64)
    path.write_bytes(dump_plan(plan))
    for commit in job.output.glob("_build/commits/*"):
        fields = json.loads(commit.read_bytes())
        commit.write_text(json.dumps({**fields, "plan": plan.fingerprint}))


def test_another_version_of_a_library_is_told(job, capfd):
    pretend_numpy(job, "1.2.3")
    for _ in range(2):
        assert job.run() == 1
        message = error_of(capfd)
        assert f"numpy has changed from 1.2.3 to {numpy.__version__}:" in message
        assert ADVICE in message


def test_all_that_differs_is_told_at_once(job, capfd):
    pretend_numpy(job, "1.2.3")
    add(job, "late")
    remove(job, 1)
    assert job.run() == 1
    message = error_of(capfd)
    for words in (
        "numpy has changed",
        "1 pair was added (late)",
        "1 pair was removed (",
    ):
        assert words in message
    assert job.run("--overwrite") == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--jpeg_quality=50"], "(jpeg_quality 90, not 50)"),
        (["--seed=1", "--image_size=8"], "(image_size 256, not 8; seed 0, not 1)"),
        (["--tokenizer=bytes"], "tokenizer basic, not bytes"),
        (["--num_shards=5"], "(num_shards 4, not 5)"),
    ],
)
def test_other_settings_are_told_before_anything_is_planned(
    job, flags, expected, capfd
):
    before = contents(job.output)
    del before["_build/lease.json"]  # The lease of the killed job.
    assert job.run(*flags) == 1
    message = error_of(capfd)
    assert "holds an unfinished job begun with other settings" in message
    assert expected in message
    assert ADVICE in message
    assert contents(job.output) == before


def test_what_changes_no_byte_is_no_difference(killed, job):
    moved = Unfinished(job.source.rename(job.source.parent / "moved"), job.output)
    assert moved.run("--workers=1", "--threads=3", "--max_rejects=50%") == 0
    assert contents(job.output) == contents(killed.source.parent / "whole")
