"""Tests `diptych` from the command line."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample

NOBODY = 65534


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a few pairs in `s/images` and `s/captions`."""
    write_sample(str(tmp_path / "s"), 12)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unprivileged(monkeypatch, capfd):
    """A folder with pairs that all users can access, without root permissions."""
    # Other users cannot access pytest's own temporary folders.
    with tempfile.TemporaryDirectory(prefix="diptych-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        write_sample(str(folder / "s"), 12)
        monkeypatch.chdir(folder)
        # Imports all modules first, since other users may not access the environment.
        assert build("--output=first") == 0
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        yield folder
        if root:
            os.seteuid(0)


def build(*flags: str) -> int:
    return main(["build", "--images=s/images", "--captions=s/captions", *flags])


def build_into_out(*flags: str) -> int:
    output = [] if any("--output" in flag for flag in flags) else ["--output=out"]
    return build(*output, *flags)


def error_of(capfd) -> str:
    """Returns the only line on stderr."""
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("diptych: error: ")
    return lines[0]


def test_build_shows_the_books_and_how_to_read_the_dataset(folder, capfd):
    assert build("--output=out") == 0
    out = capfd.readouterr().out
    assert "12 keys found" in out
    assert "12 written" in out
    # The batch is no larger than the dataset, and images are cropped, not resampled.
    load = 'reader.load("out/train-*.tfrecord", batch_size=12, image_size=224)'
    assert load in out
    assert not (folder / "out/_build").exists()


def test_a_finished_dataset_is_not_built_again(folder, capfd):
    assert build("--output=out") == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*")}
    assert build("--output=out") == 0
    assert "complete already" in capfd.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--jpeg_qualty=80"], "did you mean --jpeg_quality?"),
        (["--direct_num_workers=2"], "use --workers=N instead"),
        (["--jpeg_quality=0"], "jpeg_quality must be from 1 to 100, got 0"),
        (
            ["--num_shards=0"],
            "num_shards must be at least 1 (one for each split), got 0",
        ),
        (["--image_size=0"], "image_size must be at least 1, got 0"),
        (["--splits=train=0.5"], "must sum to 1, got 0.5"),
        (["--runner=Nothing"], "--runner=Nothing: Unexpected pipeline runner"),
        (["stray"], 'unexpected argument "stray"'),
    ],
)
def test_wrong_usage_is_told_before_any_work(folder, capfd, flags, message):
    assert build_into_out(*flags) == 2
    assert message in error_of(capfd)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--splits=train", "write splits like train=0.9"),
        ("--shard_size=big", "write a size like 128MiB"),
        ("--max_rejects=many", "write 20 or 0.5%"),
        ("--resize=bigger", "invalid choice"),
        ("--num_shards=x", "invalid int value"),
    ],
)
def test_a_value_that_cannot_be_read_is_told(folder, capfd, flag, message):
    assert build("--output=out", flag) == 2
    assert message in error_of(capfd)


def test_a_missing_folder_is_named(folder, capfd):
    assert main(["build", "--images=a", "--captions=s/captions", "--output=o"]) == 2
    assert "--images=a: no such folder" in error_of(capfd)
    assert main(["build", "--images=s/images", "--captions=b", "--output=o"]) == 2
    assert "--captions=b: no such folder" in error_of(capfd)
    assert not (folder / "o").exists()


def test_a_file_where_a_folder_belongs_is_told(folder, capfd):
    (folder / "file").touch()
    assert main(["build", "--images=file", "--captions=s/captions", "--output=o"]) == 2
    assert "not a folder" in error_of(capfd)
    assert build("--output=file") == 2
    assert "not a folder" in error_of(capfd)


def test_an_empty_folder_fails_and_leaves_nothing(folder, capfd):
    (folder / "empty").mkdir()
    assert main(["build", "--images=empty", "--captions=empty", "--output=o"]) == 1
    assert "no images and no captions in empty" in error_of(capfd)
    assert not (folder / "o").exists()


def test_what_was_found_instead_of_images_is_told(folder, capfd):
    (folder / "raw").mkdir()
    (folder / "raw/a.cr2").touch()
    (folder / "raw/b.cr2").touch()
    assert main(["build", "--images=raw", "--captions=raw", "--output=o"]) == 1
    assert "2 .cr2" in error_of(capfd)


def test_a_wrong_folder_of_captions_fails_before_any_image_is_read(folder, capfd):
    (folder / "empty").mkdir()
    args = ["build", "--images=s/images", "--captions=empty", "--output=o"]
    assert main(args) == 1
    captured = capfd.readouterr()
    assert "12 of 12 keys are unpaired" in captured.err
    assert "scene-00000" in captured.out
    rejects = (folder / "o/_build/rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in rejects] == ["unpaired_image"] * 12
    assert not list((folder / "o").glob("*.tfrecord"))
    # Nothing was written yet, so the right folder needs no --overwrite.
    assert build("--output=o", "--image_size=64") == 0


def test_an_output_with_other_settings_is_refused(folder, capfd):
    assert build("--output=out") == 0
    capfd.readouterr()
    assert build("--output=out", "--jpeg_quality=80", "--seed=3") == 1
    message = error_of(capfd)
    assert "jpeg_quality 90, not 80; seed 0, not 3" in message
    assert "--overwrite" in message
    assert build("--output=out", "--jpeg_quality=80", "--seed=3", "--overwrite") == 0
    config = json.loads((folder / "out/manifest.json").read_text())["config"]
    assert (config["jpeg_quality"], config["seed"]) == (80, 3)


def test_an_output_built_from_other_files_is_refused(folder, capfd):
    assert build("--output=out") == 0
    shutil.copy(folder / "s/captions/scene-00000.txt", folder / "s/captions/new.txt")
    capfd.readouterr()
    assert build("--output=out") == 1
    assert "built from other files" in error_of(capfd)


def test_overwriting_leaves_no_shard_of_the_earlier_dataset(folder):
    assert build("--output=out", "--num_shards=5") == 0
    assert build("--output=out", "--num_shards=2", "--overwrite") == 0
    shards = sorted(path.name for path in (folder / "out").glob("*.tfrecord"))
    assert shards == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert len(list((folder / "out/samples").iterdir())) == 2
    assert len(list((folder / "out/index").iterdir())) == 4


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_folder_of_other_things_is_neither_filled_nor_emptied(folder, capfd, flags):
    (folder / "thesis").mkdir()
    (folder / "thesis/chapter.tex").write_text("important")
    assert build("--output=thesis", *flags) == 1
    assert "holds no dataset (chapter.tex)" in error_of(capfd)
    assert os.listdir(folder / "thesis") == ["chapter.tex"]


def test_the_source_itself_is_refused_as_output(folder, capfd):
    assert build("--output=s/images") == 2
    assert "choose another" in error_of(capfd)


def test_an_output_inside_the_source_is_not_read_as_source(folder):
    args = ["build", "--images=s", "--captions=s", "--output=s/out"]
    shutil.rmtree(folder / "s")
    write_sample(str(folder / "s"), 6)
    for caption in (folder / "s/captions").iterdir():
        caption.rename(folder / "s/images" / caption.name)
    assert main(args) == 0
    first = (folder / "s/out/manifest.json").read_bytes()
    assert main([*args, "--overwrite"]) == 0
    assert (folder / "s/out/manifest.json").read_bytes() == first


def test_no_permission_to_write_is_told_in_one_line(unprivileged, capfd):
    assert build("--output=/diptych-out") == 1
    assert "cannot write to /diptych-out: Permission denied" in error_of(capfd)


def test_a_folder_that_may_not_be_read_is_told(unprivileged, capfd):
    closed = unprivileged / "closed"
    closed.mkdir()
    closed.chmod(0)
    args = ["build", "--images=closed", "--captions=s/captions", "--output=o"]
    assert main(args) == 2
    assert "--images=closed: no permission to read this folder" in error_of(capfd)


@pytest.mark.parametrize("kind", ["images", "captions"])
def test_a_source_file_that_cannot_be_read_fails_the_job_by_name(
    unprivileged, capfd, kind
):
    # Never a reject, because the error says nothing about the bytes.
    file = next((unprivileged / "s" / kind).glob("scene-00003.*"))
    with as_root():
        file.chmod(0)
    assert build("--output=o") == 1
    message = error_of(capfd)
    assert f"Permission denied: s/{kind}/{file.name}" in message
    assert "run the command again" in message
    with as_root():
        file.chmod(0o644)
    assert build("--output=o") == 0


@contextlib.contextmanager
def as_root():
    """Runs the block as the owner of the sources, if that is root."""
    held = os.geteuid()
    os.seteuid(os.getuid())
    yield
    os.seteuid(held)


def test_plan_only_shows_the_plan_and_writes_nothing(folder, capfd):
    (folder / "s/captions/alone.txt").write_text("a caption with no picture")
    (folder / "s/images/notes.md").touch()
    assert build("--output=out", "--plan_only", "--splits=a=0.5,b=0.5") == 0
    out = capfd.readouterr().out
    assert "13 keys found, 12 with an image and a caption" in out
    assert "1 unpaired_caption" in out
    assert "1 .md" in out
    assert not (folder / "out").exists()


def test_dashes_do_for_underscores(folder):
    assert build("--output=out", "--jpeg-quality=70", "--num-shards=2") == 0
    assert len(list((folder / "out").glob("*.tfrecord"))) == 2


def test_the_module_is_the_same_command(folder):
    done = subprocess.run(
        [sys.executable, "-m", "beam_jobs", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("diptych ")
    assert done.returncode == 0


def test_demo_goes_the_whole_way(folder, capfd):
    assert main(["demo", "out", "--num=30"]) == 0
    out = capfd.readouterr().out
    assert "30 written" in out
    assert "all checksums, counts and keys are correct" in out
    assert "streamed" in out
    assert (folder / "out/manifest.json").exists()


def test_show_and_verify_say_when_there_is_no_dataset(folder, capfd):
    for command in ("show", "verify"):
        assert main([command, "s"]) == 1
        assert "no manifest.json in s/" in error_of(capfd)


def test_a_reader_that_closes_the_pipe_gets_no_traceback(folder):
    assert build("--output=out") == 0
    done = subprocess.run(
        f"{sys.executable} -m beam_jobs show out --num=12 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=Path.cwd(),
    )
    assert "diptych" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["manifest.json", "_build/html/index.html"])
def test_a_folder_with_names_like_ours_is_left_alone(folder, capfd, name):
    file = folder / "theirs" / name
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    (folder / "theirs/samples").mkdir()
    for flags in ((), ("--overwrite",)):
        assert build("--output=theirs", *flags) == 1
        assert "choose another --output" in error_of(capfd)
    assert file.exists()
    assert (folder / "theirs/samples").is_dir()


def test_a_subfolder_that_may_not_be_read_fails_by_name(unprivileged, capfd):
    assert build("--output=o") == 0
    with as_root():
        (unprivileged / "s/images/closed").mkdir()
        (unprivileged / "s/images/closed").chmod(0)
    capfd.readouterr()
    for output in ("o", "new"):
        assert build(f"--output={output}") == 1
        assert "Permission denied: s/images/closed" in error_of(capfd)


def test_a_failed_job_is_no_success_when_nobody_reads_on(folder):
    (folder / "empty").mkdir()
    command = f"{sys.executable} -m beam_jobs build --images=s/images --captions=empty"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} --output=o | true"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "12 of 12 keys are unpaired" in done.stderr


def test_a_newer_dataset_is_not_called_damaged(folder, capfd):
    assert build("--output=out") == 0
    manifest = folder / "out/manifest.json"
    fields = json.loads(manifest.read_text()) | {"format_version": 99}
    manifest.write_text(json.dumps(fields))
    capfd.readouterr()
    assert build("--output=out") == 1
    assert "format_version 99 is newer than this reader" in error_of(capfd)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--runner=DataflowRunner"], 2, "needs --project"),
        (["--output="], 2, "output must not be empty"),
    ],
)
def test_more_wrong_usage(folder, capfd, flags, status, message):
    assert build_into_out(*flags) == status
    assert message in error_of(capfd)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--num_shards=999999999", "num_shards must be at most 99999"),
        ("--workers=5000", "workers must be at most"),
        ("--threads=5000", "threads must be from 1 to 256"),
        ("--output=hdfs://host/out", "s3://BUCKET/… or az://CONTAINER/…"),
        ("--output=gs://bucket", "must name a bucket and a folder in it"),
        ("--output=gs:/bucket/out", "output needs two slashes"),
        ("--output=s3:bucket/out", "output needs two slashes"),
        ("--take_over", "--take_over is for outputs in a bucket"),
        ("--dry_run=True", "use --plan_only to plan without writing"),
    ],
)
def test_what_would_exhaust_the_machine_or_go_astray_is_refused(
    folder, capfd, flag, message
):
    assert build_into_out(flag) == 2
    assert message in error_of(capfd)
    assert os.listdir(folder) == ["s"]
