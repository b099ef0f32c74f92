"""`~` stands for the home folder in every local path, as in `--output=~/out`."""

import os
import shutil
from pathlib import Path

import pytest

import reader
from beam_jobs import write_sample
from beam_jobs.__main__ import main
from beam_jobs.config.job_config import JobConfig
from reader.tools.find.search import find


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder with a sample; the working folder is another one, and empty."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    write_sample("~/s", 12)
    yield tmp_path / "home"
    assert os.listdir() == []


SOURCES = ("--images=~/s/images", "--captions=~/s/captions")


def test_a_dataset_is_built_and_read_below_the_home_folder(home, capsys):
    assert main(["build", *SOURCES, "--output=~/out"]) == 0
    assert f'reader.load("{home}/out/train-*.tfrecord"' in capsys.readouterr().out
    for command in ("show", "verify"):
        assert main([command, "~/out"]) == 0
    assert main(["find", "~/out", "scene-00003"]) == 0
    assert main(["report", "~/out", "--output=~/page.html"]) == 0
    assert (home / "page.html").exists()
    batches = reader.load(
        "~/out/train-*.tfrecord", batch_size=4, image_size=32, cache="~/cache"
    )
    assert len(list(batches)) == 3
    assert (home / "cache").is_dir()
    assert len(reader.open(Path("~/out"))) == 12
    assert reader.steps_per_epoch(["~/out/train-*.tfrecord"], batch_size=4) == 3
    mixture = reader.load({"~/out": 1.0}, batch_size=4, image_size=32, epochs=None)
    assert next(iter(mixture))["image"].shape == (4, 32, 32, 3)
    assert reader.verify("~/out").problems == []
    image = next(home.glob("s/images/scene-00000.*"))
    assert reader.tokenizer("~/out").vocab_size > 4
    found = find("~/out", f"~/s/images/{image.name}")
    assert found.written


def test_paths_of_a_configuration(home):
    config = JobConfig(
        table=["~/t.csv", "u.csv"],
        images="~",
        output="~/out",
        allow_roots=("~/more", "~nobody-of-this-name/x"),
        tokenizer="~/tokenizer.json",
    )
    assert config.paths("table") == (f"{home}/t.csv", "u.csv")
    assert (config.images, config.output) == (str(home), f"{home}/out")
    assert config.allow_roots == (f"{home}/more", "~nobody-of-this-name/x")
    assert config.tokenizer == f"{home}/tokenizer.json"


def test_a_folder_of_that_name_can_be_named(home):
    assert main(["build", *SOURCES, "--output=./~/out"]) == 0
    assert len(reader.open("./~/out")) == 12
    shutil.rmtree("./~")
