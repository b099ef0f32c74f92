"""The examples, with few scenes and steps: they learn, and resume after a kill."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from training_scripts import Scripts

import reader

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PATIENCE_SECONDS = 900
SMALL = ("--image_size=32", "--batch_size=16")

pytestmark = pytest.mark.slow

# Keras imports TensorFlow, which a fork need not do again.
KERAS = """
import os, runpy, sys
backend, folder, name, *arguments = sys.argv[1:]
os.environ["KERAS_BACKEND"] = backend
sys.path.insert(0, folder)
sys.argv = [name, *arguments]
print("ready", flush=True)
runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
"""


class Trained(NamedTuple):
    """What an example printed.

    Attributes:
        losses: As printed, by step; the last ones of steps that were repeated.
        repeated: Losses that were printed again, by step, before and after.
        metrics: What it reaches.
    """

    losses: dict[int, str]
    repeated: dict[int, tuple[str, str]]
    metrics: dict[str, float]


def trained(out: str) -> Trained:
    losses: dict[int, str] = {}
    repeated = {}
    for number, loss in re.findall(r"^step (\d+): loss (\S+)$", out, re.M):
        if (step := int(number)) in losses:
            repeated[step] = losses[step], loss
        losses[step] = loss
    found = re.findall(r"^(\w+): (\S+)$", out, re.M)
    return Trained(losses, repeated, {name: float(value) for name, value in found})


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Keras:
    """Runs examples with Keras."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def run(self, name: str, *args: object, backend: str = "tensorflow") -> Trained:
        """Runs an example to its end."""
        done = self._run(backend, name, *args)
        assert done.status == 0, done
        return trained(done.out)

    def kill(self, name: str, *args: object, checkpoint: Path) -> Trained:
        """Kills an example once it has saved something."""

        def act(pid: int) -> None:
            wait_for(checkpoint)
            kill_it(pid)

        done = self._run("tensorflow", name, *args, act=act)
        assert done.status == -signal.SIGKILL, done
        return trained(done.out)

    def _run(self, backend, name, *args, act=None):
        words = (backend, EXAMPLES, name, *args)
        return self._scripts.run(KERAS, *words, act=act, patience=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def run_keras(scripts) -> Keras:
    return Keras(scripts)


class Drawn(NamedTuple):
    """A dataset that an example has drawn, and what it reached on it."""

    data: Path
    metrics: dict[str, float]
    manifest: os.stat_result


@pytest.fixture(scope="module")
def drawn(run_keras, tmp_path_factory) -> Drawn:
    """The dataset for all of them, which the first one draws."""
    data = tmp_path_factory.mktemp("examples") / "out"
    words = (f"--data={data}", "--num=200", "--steps=40", "--image_size=32")
    metrics = run_keras.run("virtual_devices", *words).metrics
    return Drawn(data, metrics, (data / "manifest.json").stat())


def num_examples(dataset: Path, split: str) -> tuple[int, int]:
    """Returns how many images and captions a split has."""
    records = reader.open(str(dataset), split=split, outputs=("captions",))
    return len(records), sum(len(captions) for (captions,) in records)


def test_two_virtual_devices_share_each_batch(drawn):
    metrics = drawn.metrics
    assert metrics["images_of_device_0"] == metrics["images_of_device_1"] == 40 * 32
    assert metrics["distinct_images_per_step"] == 64
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert metrics["fit_loss_at_end"] < 0.7 * metrics["fit_loss_at_start"]


def test_captioning_learns_to_say_what_is_there(drawn, run_keras):
    words = (f"--data={drawn.data}", "--steps=60", *SMALL)
    metrics = run_keras.run("captioning", *words).metrics
    assert metrics["images"] == num_examples(drawn.data, "validation")[0]
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert metrics["words_by_chance"] < metrics["words_right"] <= 1
    assert 0 <= metrics["true_captions"] <= 1
    assert 0 <= metrics["shapes_named"] <= 1


def test_retrieval_finds_more_than_chance_would_on_jax_too(drawn, run_keras):
    # What it has seen: few scenes are enough for that.
    words = (f"--data={drawn.data}", "--eval_split=train", "--steps=120", *SMALL)
    metrics = run_keras.run("retrieval", *words, backend="jax").metrics
    assert (metrics["images"], metrics["captions"]) == num_examples(drawn.data, "train")
    for way in ("image_to_text", "text_to_image"):
        for k in (1, 5):
            chance = metrics[f"{way}_chance_at_{k}"]
            assert 2 * chance < metrics[f"{way}_recall_at_{k}"] <= 1
    # A dataset that exists is not drawn again.
    assert (drawn.data / "manifest.json").stat() == drawn.manifest


def build_coco(folder: Path, request, diptych) -> None:
    """As docs/recipes/coco.md builds one."""
    request.getfixturevalue("coco_download")(folder)
    captions = folder / "annotations/captions_train2017.json"
    sources = (f"--coco={captions}", f"--images={folder}/train2017")
    splits = "--splits=train=0.7,validation=0.3"
    assert diptych("build", *sources, splits, f"--output={folder}/out").status == 0


def build_flickr(folder: Path, request, diptych) -> None:
    """As docs/recipes/flickr.md builds one, in Karpathy's splits."""
    request.getfixturevalue("flickr_download")(folder)
    source = f"--coco={folder}/dataset_flickr8k.json"
    images = f"--images={folder}/Flickr8k/Images"
    assert diptych("build", source, images, f"--output={folder}/out").status == 0


@pytest.mark.parametrize(
    ("name", "build_it", "split"),
    [("captioning", build_coco, "validation"), ("retrieval", build_flickr, "val")],
)
def test_keras_resumes_after_a_kill(
    name, build_it, split, run_keras, request, diptych, tmp_path
):
    build_it(tmp_path, request, diptych)
    saved = [tmp_path / f"{run}.weights.h5" for run in ("undisturbed", "killed")]
    words = (
        f"--data={tmp_path}/out",
        f"--eval_split={split}",
        "--steps=9",
        "--save_every=3",
        "--image_size=32",
        "--batch_size=8",
    )
    expected = run_keras.run(name, *words, f"--checkpoint={saved[0]}")
    words = (*words, f"--checkpoint={saved[1]}")
    killed = run_keras.kill(name, *words, checkpoint=saved[1])
    resumed = run_keras.run(name, *words)
    assert list(expected.losses) == [3, 6, 9]
    assert min(resumed.losses) > 3
    assert killed.losses | resumed.losses == expected.losses
    rest = {k: v for k, v in resumed.metrics.items() if k != "loss_at_start"}
    assert rest == {k: expected.metrics[k] for k in rest}
    assert rest["images"] == num_examples(tmp_path / "out", split)[0]


def program(
    command: list[object],
    *,
    at: int = 0,
    kill: Callable[[int], None] | None = None,
    status: int = 0,
) -> Trained:
    """Runs a program, and calls `kill(pid)` once it has printed the loss of a step."""
    out = ""
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            out += line
            if kill is not None and line.startswith(f"step {at}:"):
                kill(process.pid)
                kill = None
    assert process.returncode == status, out
    return trained(out)


def kill_it(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def options(drawn: Drawn, checkpoint: Path) -> list[str]:
    return [
        f"--data={drawn.data}",
        f"--checkpoint={checkpoint}",
        "--batch_size=16",
        "--steps=12",
        "--save_every=4",
        "--log_every=2",
    ]


def test_jax_resumes_after_a_kill(drawn, tmp_path):
    script = EXAMPLES / "clip_jax.py"
    expected = program([script, *options(drawn, tmp_path / "undisturbed.npz")])
    words = [script, *options(drawn, tmp_path / "killed.npz")]
    killed = program(words, at=6, kill=kill_it, status=-signal.SIGKILL)
    resumed = program(words)
    assert list(expected.losses) == list(range(2, 13, 2))
    assert min(resumed.losses) > 4
    assert killed.losses | resumed.losses == expected.losses
    assert resumed.metrics == expected.metrics


def kill_rank(torchrun: int) -> None:
    """Kills the second of torchrun's processes."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children")
    for pid in map(int, children.read_text().split()):
        if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            kill_it(pid)
            return
    raise AssertionError("torchrun has no second rank")


def test_ranks_resume_after_a_kill(drawn, tmp_path):
    def torchrun(ranks: int, more: str, name: str) -> list[object]:
        words = ["-m", "torch.distributed.run", "--standalone", more]
        words += [f"--nproc_per_node={ranks}", EXAMPLES / "clip_torch.py"]
        return words + options(drawn, tmp_path / name)

    # One rank has all rows, and gathers none.
    expected = program(torchrun(1, "--max-restarts=0", "undisturbed.pt"))
    words = torchrun(2, "--max-restarts=1", "killed.pt")
    killed = program(words, at=6, kill=kill_rank)
    # Torchrun repeated what was not saved.
    assert 6 in killed.repeated
    assert all(before == after for before, after in killed.repeated.values())
    assert list(killed.losses) == list(expected.losses) == list(range(2, 13, 2))
    # Sums over ranks are in another order.
    losses = [
        [float(loss) for loss in run.losses.values()] for run in (killed, expected)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_examples_use_public_names_alone(path):
    text = path.read_text()
    assert not re.search(r"^\s*from (reader|beam_jobs)", text, re.M)
    names = set(re.findall(r"(?<![\w.])reader\.(\w+)", text))
    assert names <= set(reader.__all__)
