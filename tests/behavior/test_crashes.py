"""A job is killed before every step of publishing, and at random moments."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
from flawed import write_flawed_sample
from forks import Forks, distinct, wait_for
from patience import PATIENCE_SECONDS

from beam_jobs.__main__ import main
from reader.contract.errors import DatasetError
from reader.contract.manifest import parse_manifest
from reader.contract.record import crc32c_hex
from reader.datasets.manifest_dataset import find_place, select

Files = dict[str, bytes | None]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Few pairs, since every list of pairs is a step: and two that are rejected."""
    return write_flawed_sample(tmp_path_factory.mktemp("crashes") / "s", 8)


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    limits = ["--max_rejects=100%", "--max_unpaired=100%"]
    shards = [] if any("--num_shards" in flag for flag in more) else ["--num_shards=2"]
    shards += ["--splits=train=0.7,validation=0.3"]
    return ["build", *folders, f"--output={output}", *limits, *shards, *more]


def below(folder: Path) -> Files:
    """Returns what lies below a folder: `{file: content}`, `{folder: None}`."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> Files:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(args(source, output)) == 0
    return below(output)


def check_not_complete(output: Path) -> None:
    """Checks that nothing can be read as if it were a dataset."""
    for pattern in (output, f"{output}/train-*", f"{output}/*.tfrecord"):
        with pytest.raises(DatasetError, match="the job has not finished"):
            select([find_place(str(pattern))])


def check_all_there(output: Path) -> None:
    """Checks that a dataset with a manifest has all that it speaks of."""
    manifest = parse_manifest((output / "manifest.json").read_bytes(), str(output))
    checksums = {shard.file: shard.crc32c for shard in manifest.shards}
    for file, crc32c in (checksums | dict(manifest.files)).items():
        assert crc32c_hex((output / file).read_bytes()) == crc32c, file


def identities(output: Path) -> dict[Path, tuple[int, int]]:
    """Returns which files the shards that are committed now lie in."""
    return {
        file: (file.stat().st_ino, file.stat().st_mtime_ns)
        for commit in output.glob("_build/commits/*.json")
        for file in output.glob(f"**/{commit.stem}.*")
        if "_build" not in file.parts
    }


def check_killed(output: Path) -> dict[Path, tuple[int, int]]:
    """Checks what a killed job left; returns the shards that must not be redone."""
    if (output / "manifest.json").exists():
        check_all_there(output)
    elif output.exists():
        check_not_complete(output)
    return identities(output)


def check_finished(output: Path, undisturbed: Files, done: dict) -> None:
    assert below(output) == undisturbed
    for file, identity in done.items():
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == identity, file


def test_killed_before_every_step_of_publishing(forks, source, undisturbed, tmp_path):
    steps = forks.run(args(source, tmp_path / "whole")).steps
    for file in ("manifest.json", "train-00000-of-00001.tfrecord", "commits/train-00"):
        assert any(file in step for step in steps if step.startswith("replace"))
    redone = 0
    for place in distinct(steps):
        output = tmp_path / f"killed-at-{place}"
        assert forks.run(args(source, output), kill_at=place).status == -signal.SIGKILL
        done = check_killed(output)
        redone += len(done)
        again = forks.run(args(source, output))
        assert again.status == 0, (steps[place], again.err)
        check_finished(output, undisturbed, done)
    assert redone


def test_what_is_published_survives_a_power_cut(forks, source, tmp_path):
    output = tmp_path / "out"
    steps = forks.run(args(source, output)).steps
    published = [place for place, step in enumerate(steps) if _publishes(step)]
    # Lists of pairs and rejects are made anew by each attempt.
    lists = ("/plan/pairs-", "/plan/rejects-")
    durable = [p for p in published if not any(name in steps[p] for name in lists)]
    assert len(durable) > 12
    for place in durable:
        target = Path(steps[place].removeprefix("replace "))
        # Its bytes before its name, and its name before anything that builds on it.
        assert steps[place - 1].startswith(f"fsync {output}/_build/tmp/"), target
        assert steps[place + 1] == f"fsync {target.parent}", target
    names = [Path(steps[place]).name for place in durable]
    for earlier, later in (
        ("train-00000-of-00001.parquet", "train-00000-of-00001.json"),
        ("train-00000-of-00001.tfrecord", "train-00000-of-00001.json"),
        ("train-00000-of-00001.json", "manifest.json"),
        ("rejects.jsonl", "manifest.json"),
        ("croissant.json", "manifest.json"),
    ):
        assert names.index(earlier) < names.index(later)


def _publishes(step: str) -> bool:
    return step.startswith("replace")


def test_killed_while_an_older_dataset_makes_way(forks, source, undisturbed, tmp_path):
    older, output = tmp_path / "older", tmp_path / "out"
    flags = ["--tokenizer=bytes", "--num_shards=3"]
    assert forks.run(args(source, older, *flags)).status == 0
    shutil.copytree(older, output)
    steps = forks.run(args(source, output, "--overwrite")).steps
    assert below(output) == undisturbed
    manifest = steps.index(f"unlink {output}/manifest.json")
    first = next(i for i, step in enumerate(steps) if _publishes_shard(step))
    removing = [place for place in distinct(steps) if manifest <= place < first]
    assert len(removing) > 5
    for place in removing:
        shutil.rmtree(output)
        shutil.copytree(older, output)
        command = args(source, output, "--overwrite")
        assert forks.run(command, kill_at=place).status == -signal.SIGKILL
        check_killed(output)
        # Once the older one is gone, it takes no --overwrite to go on.
        again = forks.run(command if place == manifest else args(source, output))
        assert again.status == 0, (steps[place], again.err)
        assert below(output) == undisturbed, steps[place]


def _publishes_shard(step: str) -> bool:
    return step.startswith("replace") and step.endswith(".tfrecord")


class Job:
    """`diptych build`, the real one, in a session of its own; none is left running."""

    def __init__(self, forks: Forks, command: list[str]) -> None:
        self.process = forks.start_command(command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill_session()

    def others(self) -> list[int]:
        """Returns the job's processes but for the one that was started."""
        found = subprocess.run(
            ["pgrep", "-s", str(self.process.pid)], capture_output=True, text=True
        )
        return [int(p) for p in found.stdout.split() if int(p) != self.process.pid]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments(forks, source, undisturbed, tmp_path, workers):
    randoms = random.Random(workers)
    command = args(source, tmp_path / "out", f"--workers={workers}")
    began = time.monotonic()
    with Job(forks, command) as job:
        assert job.process.wait() == 0
    seconds = time.monotonic() - began
    output = tmp_path / "killed"
    command = args(source, output, f"--workers={workers}")
    # The same output over and over, until it is whole.
    while not (output / "manifest.json").exists():
        with Job(forks, command) as job, contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(randoms.uniform(0.3, 1.2) * seconds)
        check_killed(output)
    assert main(command) == 0
    assert below(output) == undisturbed


@pytest.mark.slow
def test_interrupted_before_its_workers_are_up_it_does_not_wait_for_ever(
    forks, source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    command = args(source, output, "--workers=2", "--threads=1")
    with Job(forks, command) as job:
        wait_for(job.others)
        # The launcher alone: a terminal would tell the workers too.
        job.process.send_signal(signal.SIGINT)
        said = job.process.communicate(PATIENCE_SECONDS)[1]
        assert job.process.returncode == 130
        assert "run the same command again to resume" in said.splitlines()[-1]
        # A worker that had only just been started ends once its launcher has.
        wait_for(lambda: not job.others())
    assert main(args(source, output)) == 0
    assert below(output) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_that_outlive_their_launcher_do_no_harm(
    forks, source, undisturbed, tmp_path, number
):
    output = tmp_path / "out"
    command = args(source, output, "--workers=2", "--threads=1")
    with Job(forks, command) as job:
        wait_for((output / "_build/plan/plan.json").exists)
        os.kill(job.process.pid, number)
        job.process.wait()
        assert main(args(source, output)) == 0
        assert below(output) == undisturbed
        wait_for(lambda: not job.others())
        assert below(output) == undisturbed
