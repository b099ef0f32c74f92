"""A disk that is full: one line says so, and with room again the job goes on."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import Forks
from small_disks import small_disk

from beam_jobs.sample_data import write_sample

PAGE_BYTES = 4096


@pytest.fixture
def disk_of_16_mb(tmp_path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        yield disk


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "s"
    write_sample(str(folder), 60)
    return folder


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    return ["build", *folders, f"--output={output}", "--num_shards=6", *more]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def undisturbed(forks, source, tmp_path_factory) -> dict[str, bytes | None]:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert forks.run(args(source, output)).status == 0
    return contents(output)


@contextlib.contextmanager
def leaving(pages: int, disk: Path) -> Iterator[None]:
    """Fills a disk, but for some pages, while the block runs."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(PAGE_BYTES))
        file.truncate(file.tell() - pages * PAGE_BYTES)
    yield
    filler.unlink()


def phase_of(output: Path) -> str:
    build = output / "_build"
    if len(list(build.glob("commits/*.json"))) == 6:
        return "finalising"
    if (build / "plan/plan.json").exists():
        return "writing"
    return "planning" if (build / "config.json").exists() else "beginning"


def test_a_full_disk_in_every_phase_is_told_in_one_line(
    forks, source, undisturbed, disk_of_16_mb
):
    phases = set()
    output = disk_of_16_mb / "out"
    needed = _pages_needed(forks, source, disk_of_16_mb)
    for pages in (0, 2, 10, 40, needed // 2, needed - 12, needed - 4, needed - 2):
        with leaving(pages, disk_of_16_mb):
            done = forks.run(args(source, output))
            if done.status:
                phases.add(phase_of(output))
                told = f"no space left for {output}: make room and run the command"
                assert told in done.error
                assert not list(output.glob("_build/tmp/*"))
                assert not (output / "manifest.json").exists()
        before = {file: file.stat().st_mtime_ns for file in _finished(output)}
        assert forks.run(args(source, output)).status == 0
        assert contents(output) == undisturbed
        assert {file: file.stat().st_mtime_ns for file in before} == before
        shutil.rmtree(output)
    assert phases == {"beginning", "planning", "writing", "finalising"}


def _pages_needed(forks: Forks, source: Path, disk: Path) -> int:
    """Returns how much of a disk a job takes, `_build/` not yet deleted."""
    free = os.statvfs(disk).f_bavail
    steps = forks.run(args(source, disk / "out")).steps
    last = steps.index(f"replace {disk}/out/_build/outcome.json")
    shutil.rmtree(disk / "out")
    forks.run(args(source, disk / "out"), kill_at=last)
    pages = free - os.statvfs(disk).f_bavail
    shutil.rmtree(disk / "out")
    return pages


def _finished(output: Path) -> list[Path]:
    commits = output.glob("_build/commits/*.json")
    return [output / f"{commit.stem}.tfrecord" for commit in commits]


def test_with_two_worker_processes_one_line_is_enough(
    forks, source, undisturbed, disk_of_16_mb
):
    output = disk_of_16_mb / "out"
    command = args(source, output, "--workers=2")
    with leaving(40, disk_of_16_mb):
        done = forks.run(command)
    assert done.status == 1
    # A busy machine takes so long that it says how far it has come.
    lines = done.err.splitlines()
    (line,) = [line for line in lines if " lists of pairs planned, " not in line]
    assert f"no space left for {output}" in line
    assert forks.run(args(source, output)).status == 0
    assert contents(output) == undisturbed


def test_a_repair_that_finds_no_room_costs_no_file_that_was_whole(
    forks, source, undisturbed, disk_of_16_mb
):
    output = disk_of_16_mb / "out"
    assert forks.run(args(source, output)).status == 0
    shard = output / "train-00003-of-00006.tfrecord"
    shard.write_bytes(bytes(len(shard.read_bytes())))
    needed = sum(map(len, filter(None, undisturbed.values()))) // PAGE_BYTES
    for pages in (0, 30, needed // 6):
        with leaving(pages, disk_of_16_mb):
            done = forks.run(args(source, output, "--repair"))
        assert f"no space left for {output}" in done.error
        after = contents(output)
        kept = {file: after[file] for file in undisturbed if file != shard.name}
        assert kept == {f: undisturbed[f] for f in kept}
    assert forks.run(args(source, output, "--repair")).status == 0
    assert contents(output) == undisturbed
