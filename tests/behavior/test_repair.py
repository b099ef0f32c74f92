"""`--repair` makes damaged files again as they were, and touches no other."""

import os
import shutil
import signal
from pathlib import Path

import numpy
import pytest
from flawed import write_flawed_sample
from forks import distinct

from beam_jobs.__main__ import main

SHARD = "train-00001-of-00003"
FILES = {
    "shard": f"{SHARD}.tfrecord",
    "text index": f"index/{SHARD}.tfrecord.idx",
    "samples": f"samples/{SHARD}.parquet",
    "block index": "index/blocks.bin",
    "lengths": "index/lengths.bin",
    "tokenizer": "tokenizer/vocab.txt",
    "rejects": "rejects.jsonl",
    "features of TFDS": "features.json",
    "information of TFDS": "dataset_info.json",
    "Croissant": "croissant.json",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_flawed_sample(tmp_path_factory.mktemp("repair") / "s", 24)


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    limits = ["--max_rejects=100%", "--max_unpaired=100%"]
    shards = ["--num_shards=4", "--splits=train=0.8,validation=0.2"]
    return ["build", *folders, f"--output={output}", *limits, *shards, *more]


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "out"
    assert main(args(source, output)) == 0
    return output


@pytest.fixture
def output(whole, tmp_path) -> Path:
    """A copy of a dataset, with the times of change that it had."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def state(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """Returns what lies below a folder: content and time of change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def contents(folder: Path) -> dict[str, bytes | None]:
    return {file: some and some[0] for file, some in state(folder).items()}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "a bit flipped": flip,
    "cut short": lambda file: os.truncate(file, file.stat().st_size // 2),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_as_it_was(source, whole, output, kind, damage, capfd):
    before = state(output)
    DAMAGE[damage](output / FILES[kind])
    assert main(args(source, output, "--repair")) == 0
    after = state(output)
    assert contents(output) == contents(whole)
    # Files of other shards than the damaged one are left alone; so are its neighbours.
    stem = SHARD if SHARD in FILES[kind] else FILES[kind]
    for file in before:
        assert stem in file or after[file] == before[file], file
    out = capfd.readouterr().out
    assert "all 4 shards checked, byte for byte: 1 damaged" in out
    assert out.splitlines()[-1].strip() == stem


def test_several_at_once(source, whole, output, capfd):
    for file in FILES.values():
        flip(output / file)
    (output / "validation-00000-of-00001.tfrecord").unlink()
    shutil.rmtree(output / "samples")
    assert main(args(source, output, "--repair")) == 0
    assert contents(output) == contents(whole)
    out = capfd.readouterr().out
    # Four shards, since all samples were gone.
    assert ": 11 damaged" in out
    for file in set(FILES.values()):
        assert SHARD in file or file in out


def test_where_nothing_is_wrong_nothing_is_touched(source, output, capfd):
    before = state(output)
    for _ in range(2):
        assert main(args(source, output, "--repair")) == 0
        assert "all 4 shards checked, byte for byte: no damage found" in (
            capfd.readouterr().out
        )
    assert state(output) == before


def test_with_two_worker_processes(source, whole, output):
    flip(output / FILES["shard"])
    (output / FILES["samples"].replace("00001-of", "00002-of")).unlink()
    assert main(args(source, output, "--repair", "--workers=2")) == 0
    assert contents(output) == contents(whole)


def test_an_unfinished_job_redoes_damaged_shards(
    forks, source, whole, output, tmp_path
):
    steps = forks.run(args(source, tmp_path / "other")).steps
    last = max(i for i, step in enumerate(steps) if step.endswith("/manifest.json"))
    shutil.rmtree(output)
    assert forks.run(args(source, output), kill_at=last).status == -signal.SIGKILL
    flip(output / FILES["shard"])
    (output / "samples/train-00000-of-00003.parquet").write_bytes(b"")
    finished = output / "train-00002-of-00003.tfrecord"
    before = finished.stat().st_mtime_ns
    assert main(args(source, output, "--repair")) == 0
    assert contents(output) == contents(whole)
    assert finished.stat().st_mtime_ns == before


def test_killed_before_every_step_and_run_again(forks, source, whole, output, tmp_path):
    def damaged(name: str) -> Path:
        folder = Path(shutil.copytree(whole, tmp_path / name))
        for kind in ("shard", "block index", "tokenizer"):
            flip(folder / FILES[kind])
        return folder

    steps = forks.run(args(source, damaged("all"), "--repair")).steps
    # Planning is as in any job: tests/behavior/test_crashes.py.
    planned = steps.index(f"replace {tmp_path}/all/_build/plan/plan.json")
    for place in (place for place in distinct(steps) if place > planned):
        folder = damaged(f"killed-at-{place}")
        command = args(source, folder, "--repair")
        assert forks.run(command, kill_at=place).status == -signal.SIGKILL
        again = forks.run(command)
        assert again.status == 0, (steps[place], again.err)
        assert contents(folder) == contents(whole)


@pytest.fixture
def own_source(source, tmp_path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "s"))


def error_of(capfd) -> str:
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_sources_that_came_or_went_are_refused_and_nothing_touched(
    own_source, output, capfd
):
    flip(output / FILES["shard"])
    before = state(output)
    (own_source / "captions/late.txt").write_text("came later")
    assert main(args(own_source, output, "--repair")) == 1
    assert "built from other files" in error_of(capfd)
    assert state(output) == before


@pytest.mark.parametrize("kind", ["shard", "rejects"])
def test_sources_with_other_contents_cost_no_file_that_was_whole(
    own_source, output, kind, capfd
):
    # Names and sizes are the same: it is noticed when the shard has been made again.
    for file in own_source.glob("captions/scene-*.txt"):
        file.write_text(file.read_text().upper())
    flip(output / FILES[kind])
    before = state(output)
    assert main(args(own_source, output, "--repair")) == 1
    assert "its sources have changed" in error_of(capfd)
    after = state(output)
    assert {file: after[file] for file in before} == before


def test_other_settings_are_refused_and_nothing_touched(source, output, capfd):
    flip(output / FILES["shard"])
    before = state(output)
    assert main(args(source, output, "--repair", "--jpeg_quality=50")) == 1
    assert "jpeg_quality 90, not 50" in error_of(capfd)
    assert state(output) == before


def test_another_version_of_a_library_is_refused_and_nothing_touched(
    source, output, capfd
):
    manifest = output / "manifest.json"
    text = manifest.read_text()
    changed = text.replace(f'"numpy": "{numpy.__version__}"', '"numpy": "1.2.3"')
    assert changed != text
    manifest.write_text(changed)
    flip(output / FILES["shard"])
    before = state(output)
    assert main(args(source, output, "--repair")) == 1
    assert f"numpy 1.2.3, not {numpy.__version__}" in error_of(capfd)
    assert state(output) == before


def test_without_a_dataset_there_is_nothing_to_repair(source, tmp_path, capfd):
    for _ in range(2):
        assert main(args(source, tmp_path / "none", "--repair")) == 2
        assert "no dataset and no unfinished job in" in error_of(capfd)
        (tmp_path / "none").mkdir(exist_ok=True)
    assert not list((tmp_path / "none").iterdir())


def test_a_report_stays_unless_it_may_show_damage(source, output):
    report = output / "report.html"
    report.write_text("of the whole dataset")
    assert main(args(source, output, "--repair")) == 0
    assert report.exists()
    flip(output / FILES["shard"])
    assert main(args(source, output, "--repair")) == 0
    assert not report.exists()
