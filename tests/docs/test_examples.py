"""The examples, with few scenes and steps: they run, and what they train does learn."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reader
from beam_jobs.config.values import parse_splits
from beam_jobs.sample_data import write_sample

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
NUM_SCENES = 400

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes(build, tmp_path_factory) -> Path:
    """A dataset as the examples build it, for all of them."""
    folder = tmp_path_factory.mktemp("examples")
    write_sample(str(folder / "scenes"), NUM_SCENES, captions_per_image=5)
    return build(
        folder / "scenes/images",
        folder / "scenes/captions",
        folder / "out",
        splits=parse_splits("train=0.8,validation=0.2"),
        num_shards=4,
        image_size=64,
        captions_per_file="lines",
    )


def run(name: str, *args: object) -> dict[str, float]:
    """Runs an example; returns the metrics that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\w+): (\S+)$", done.stdout, re.M)
    return {metric: float(value) for metric, value in found}


def unseen(dataset: Path) -> tuple[int, int]:
    """Returns how many images and captions the validation split has."""
    records = reader.open(str(dataset), split="validation", outputs=("captions",))
    return len(records), sum(len(captions) for (captions,) in records)


def test_captioning_learns_to_say_what_is_there(scenes):
    metrics = run("captioning", f"--data={scenes}", "--steps=100")
    assert metrics["scenes"] == unseen(scenes)[0]
    assert metrics["loss_at_end"] < 0.5 * metrics["loss_at_start"]
    assert 0 <= metrics["true_captions"] <= 1
    assert 0 <= metrics["shapes_named"] <= 1


def test_retrieval_finds_more_than_chance_would(scenes):
    metrics = run("retrieval", f"--data={scenes}", "--steps=100", "--batch_size=32")
    assert (metrics["images"], metrics["captions"]) == unseen(scenes)
    assert metrics["loss_at_end"] < 0.9 * metrics["loss_at_start"]
    for way in ("image_to_text", "text_to_image"):
        for k in (1, 5):
            chance = metrics[f"{way}_chance_at_{k}"]
            assert 2 * chance < metrics[f"{way}_recall_at_{k}"] <= 1


def test_two_virtual_devices_share_each_batch(scenes):
    metrics = run("virtual_devices", f"--data={scenes}", "--steps=60")
    assert metrics["images_of_device_0"] == metrics["images_of_device_1"] == 60 * 32
    assert metrics["distinct_images_per_step"] == 64
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert metrics["fit_loss_at_end"] < 0.7 * metrics["fit_loss_at_start"]


def test_keras_trains_on_jax(scenes):
    metrics = run("keras_jax", f"--data={scenes}", "--steps=100")
    assert metrics["loss_at_end"] < 0.6 * metrics["loss_at_start"]


def test_an_example_draws_a_dataset_and_keeps_it_where_it_is_told(tmp_path):
    data = tmp_path / "out"
    run("virtual_devices", f"--data={data}", "--num=100", "--steps=2")
    built = (data / "manifest.json").stat()
    run("virtual_devices", f"--data={data}", "--steps=2")
    assert (data / "manifest.json").stat() == built


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_examples_use_public_names_alone(path):
    text = path.read_text()
    assert not re.search(r"^\s*from (reader|beam_jobs)", text, re.M)
    names = set(re.findall(r"(?<![\w.])reader\.(\w+)", text))
    assert names <= set(reader.__all__)
