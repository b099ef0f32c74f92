"""A job that is killed and run again ends as if nothing had happened."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from built_datasets import contents
from forks import commits, wait_for
from patience import PATIENCE_SECONDS

from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "s"
    write_sample(str(folder), 240)
    return folder


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    splits = ["--splits=train=0.8,validation=0.2", "--num_shards=24"]
    return ["build", *folders, f"--output={output}", *splits, *more]


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(args(source, output)) == 0
    return contents(output)


@pytest.mark.parametrize("shards_done", [0, 1, 7, 20])
def test_killed_and_run_again_gives_the_same_bytes(
    forks, source, undisturbed, tmp_path, shards_done
):
    output = tmp_path / "out"
    began = (output / "_build/plan/plan.json").exists
    forks.kill_once(
        args(source, output), lambda: began() and commits(output) >= shards_done
    )
    assert not (output / "manifest.json").exists()
    finished = {
        path.name: path.stat().st_mtime_ns
        for path in (output / "_build").glob("commits/*.json")
    }
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed
    # Not redone: a shard is older than the manifest's attempt by what it was before.
    for name, committed in finished.items():
        shard = output / name.replace(".json", ".tfrecord")
        assert shard.stat().st_mtime_ns <= committed


def test_killed_with_two_worker_processes_gives_the_same_bytes(
    forks, source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    command = args(source, output, "--workers=2", "--threads=1")
    forks.kill_once(command, lambda: commits(output) >= 3)
    assert main(command) == 0
    assert contents(output) == undisturbed


def test_changed_sources_are_refused_on_resume(forks, source, tmp_path, capfd):
    ours = tmp_path / "s"
    shutil.copytree(source, ours)
    output = tmp_path / "out"
    forks.kill_once(args(ours, output), lambda: commits(output) >= 2)
    (ours / "captions/scene-00000.txt").write_text("something else altogether")
    assert main(args(ours, output)) == 1
    said = capfd.readouterr().err
    assert "since then 1 pair was changed (scene-00000)" in said
    assert main(args(ours, output, "--overwrite")) == 0


def test_other_settings_are_refused_on_resume(forks, source, tmp_path, capfd):
    output = tmp_path / "out"
    forks.kill_once(args(source, output), lambda: commits(output) >= 2)
    assert main(args(source, output, "--jpeg_quality=50")) == 1
    assert "jpeg_quality 90, not 50" in capfd.readouterr().err


def test_a_shard_lost_or_cut_after_its_commit_is_written_again(
    forks, source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    forks.kill_once(args(source, output), lambda: commits(output) >= 4)
    first, second, *_ = sorted((output / "_build").glob("commits/*.json"))
    (output / first.name.replace(".json", ".tfrecord")).unlink()
    with open(output / second.name.replace(".json", ".tfrecord"), "r+b") as shard:
        shard.truncate(100)
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed


def test_killed_after_the_manifest_the_next_run_only_tidies_up(
    forks, source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    forks.kill_once(args(source, output), (output / "manifest.json").exists)
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed


def test_two_jobs_on_one_output_do_not_mix(forks, source, tmp_path, capfd):
    output = tmp_path / "out"
    process = forks.start_command(args(source, output))
    wait_for((output / "_build/config.json").exists, process)
    process.send_signal(signal.SIGSTOP)
    try:
        assert main(args(source, output)) == 1
        assert "another job is writing" in capfd.readouterr().err
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_with_one_message_and_keeps_what_is_done(
    forks, source, undisturbed, tmp_path, workers
):
    output = tmp_path / "out"
    command = args(source, output, f"--workers={workers}", "--threads=1")
    process = forks.start_command(command)
    wait_for(lambda: commits(output) >= 2, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(PATIENCE_SECONDS)[1].splitlines()[-1]
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed


def test_an_ignored_file_between_attempts_changes_nothing(
    forks, source, undisturbed, tmp_path
):
    ours = tmp_path / "s"
    shutil.copytree(source, ours)
    output = tmp_path / "out"
    forks.kill_once(args(ours, output), lambda: commits(output) >= 2)
    done = [path.stem for path in (output / "_build/commits").iterdir()]
    written = [(output / f"{stem}.tfrecord").stat().st_mtime_ns for stem in done]
    (ours / "images/.DS_Store").touch()
    (ours / "images/notes.md").touch()
    assert main(args(ours, output)) == 0
    assert contents(output) == undisturbed
    after = [(output / f"{stem}.tfrecord").stat().st_mtime_ns for stem in done]
    assert after == written


def test_files_of_a_plan_that_never_came_true_are_removed(
    source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    for name in (
        "train-00000-of-00099.tfrecord",
        "index/train-00000-of-00099.tfrecord.idx",
        "samples/train-00000-of-00099.parquet",
        "_build/tmp/half",
    ):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("left behind")
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed


def test_a_killed_worker_ends_the_job_with_advice(forks, source, undisturbed, tmp_path):
    output = tmp_path / "out"
    command = args(source, output, "--workers=2", "--threads=1")
    process = forks.start_command(command)
    wait_for(lambda: commits(output) >= 2, process)
    workers = subprocess.run(
        ["pgrep", "-g", str(process.pid), "-f", "^[^ ]*python.*local_worker"],
        capture_output=True,
        text=True,
    ).stdout.split()
    assert workers
    os.kill(int(workers[-1]), signal.SIGKILL)
    said = process.communicate(PATIENCE_SECONDS)[1].splitlines()[-1]
    assert process.returncode == 1
    assert "a worker process died" in said
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed


def test_a_job_that_is_told_to_end_says_how_to_go_on(
    forks, source, undisturbed, tmp_path
):
    output = tmp_path / "out"
    process = forks.start_command(args(source, output))
    wait_for(lambda: commits(output) >= 2, process)
    process.terminate()
    _, said = process.communicate(PATIENCE_SECONDS)
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert not (output / "_build/lease.json").exists()
    assert main(args(source, output)) == 0
    assert contents(output) == undisturbed
