"""The examples, with few pictures and steps: they learn, and resume after a kill.

What they learn is photographs by heart, as no model does whose captions are not those
of its images. A run that is killed has printed the losses of its last steps, which the
one that resumes repeats.
"""

import math
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from patience import PATIENCE_SECONDS
from training_scripts import run_program

import reader
from beam_jobs.__main__ import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
# They train.
LONG_SECONDS = 3 * PATIENCE_SECONDS
FEW = ("--image_size=32", "--batch_size=8", "--eval_split=train")

pytestmark = pytest.mark.slow

# Killed while it replaces a checkpoint, a run loses most.
RUN = """
import os, runpy, signal, sys
killed, folder, name, *arguments = sys.argv[1:]
replace = os.replace

def replace_once(source, target):
    if str(target).endswith((".h5", ".npz", ".pt")) and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

if killed == "True":
    os.replace = replace_once
sys.path.insert(0, folder)
sys.argv = [name, *arguments]
runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
"""


class Trained(NamedTuple):
    """What an example printed.

    Attributes:
        losses: As printed, by step.
        metrics: What it reaches.
    """

    losses: dict[int, str]
    metrics: dict[str, float]


def trained(out: str) -> Trained:
    losses = re.findall(r"^step (\d+): loss (\S+)$", out, re.M)
    metrics = re.findall(r"^(\w+): (\S+)$", out, re.M)
    return Trained(
        {int(step): loss for step, loss in losses},
        {name: float(value) for name, value in metrics},
    )


RunKeras = Callable[..., Trained]


@pytest.fixture(scope="module")
def run_keras(scripts) -> RunKeras:
    """Runs an example to its end, or until its second checkpoint kills it.

    Keras imports TensorFlow, which a fork need not do again.
    """

    def run(name: str, *args, backend: str = "tensorflow", killed: bool = False):
        code = f"import os; os.environ['KERAS_BACKEND'] = {backend!r}\n{RUN}"
        words = (killed, EXAMPLES, name, *args)
        done = scripts.run(code, *words, patience=LONG_SECONDS)
        assert done.status == (-signal.SIGKILL if killed else 0), done
        return trained(done.out)

    return run


@pytest.fixture(scope="module")
def coco(coco_download, tmp_path_factory) -> Path:
    """Photographs in COCO's layout, built as recipes/coco.md tells."""
    folder = tmp_path_factory.mktemp("coco")
    coco_download(folder)
    source = f"--coco={folder}/annotations/captions_train2017.json"
    more = (f"--images={folder}/train2017", "--splits=train=0.7,validation=0.3")
    assert main(["build", source, *more, f"--output={folder}/out"]) == 0
    return folder / "out"


def num_examples(dataset: Path, split: str) -> tuple[int, int]:
    """Returns how many images and captions a split has."""
    records = reader.open(str(dataset), split=split, outputs=("captions",))
    return len(records), sum(len(captions) for (captions,) in records)


def half_way(chance: float) -> float:
    """Returns the middle of chance and 1."""
    return (1 + chance) / 2


def test_two_virtual_devices_share_each_batch_of_drawn_scenes(run_keras, tmp_path):
    words = (f"--data={tmp_path}/out", "--num=100", "--image_size=32", "--steps=40")
    metrics = run_keras("virtual_devices", *words, "--batch_size=32").metrics
    assert metrics["images_of_device_0"] == metrics["images_of_device_1"] == 40 * 16
    assert metrics["distinct_images_per_step"] == 32
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert metrics["fit_loss_at_end"] < 0.7 * metrics["fit_loss_at_start"]


def test_captioning_learns_coco_and_resumes_after_a_kill(coco, run_keras, tmp_path):
    manifest = (coco / "manifest.json").stat()
    words = (f"--data={coco}", f"--checkpoint={tmp_path}/a.weights.h5", *FEW)
    words = (*words, "--steps=60", "--save_every=30")
    killed = run_keras("captioning", *words, killed=True)
    resumed = run_keras("captioning", *words)
    assert list(killed.losses) == [30, 60]
    assert list(resumed.losses.items()) == [(60, killed.losses[60])]
    metrics = resumed.metrics
    assert metrics["images"] == num_examples(coco, "train")[0]
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert half_way(metrics["words_by_chance"]) < metrics["words_right"] <= 1
    # A dataset that exists is not drawn.
    assert (coco / "manifest.json").stat() == manifest


def test_retrieval_learns_flickr_and_resumes_with_another_backend(
    run_keras, flickr_download, diptych, tmp_path
):
    flickr_download(tmp_path)
    source = f"--coco={tmp_path}/dataset_flickr8k.json"
    images = f"--images={tmp_path}/Flickr8k/Images"
    assert diptych("build", source, images, f"--output={tmp_path}/out").status == 0
    words = (f"--data={tmp_path}/out", f"--checkpoint={tmp_path}/a.weights.h5", *FEW)
    words = (*words, "--steps=40", "--save_every=20")
    killed = run_keras("retrieval", *words, killed=True)
    resumed = run_keras("retrieval", *words, backend="jax")
    assert (list(killed.losses), list(resumed.losses)) == ([20, 40], [40])
    # They compute in another order.
    expected = pytest.approx(float(killed.losses[40]), rel=0.05)
    assert float(resumed.losses[40]) == expected
    metrics = resumed.metrics
    found = metrics["images"], metrics["captions"]
    assert found == num_examples(tmp_path / "out", "train")
    for way in ("image_to_text", "text_to_image"):
        for k in (1, 5):
            chance = metrics[f"{way}_chance_at_{k}"]
            assert half_way(chance) < metrics[f"{way}_recall_at_{k}"] <= 1


def run_python(*words: object, status: int = 0, **env: object) -> Trained:
    """Runs an example that is no Keras program, with a thread for each device."""
    done = run_program(
        [sys.executable, *map(str, words)],
        env={"OMP_NUM_THREADS": "1"} | {name: str(env[name]) for name in env},
        patience=LONG_SECONDS,
    )
    assert done.status == status, done
    return trained(done.out)


def options(data: Path, checkpoint: Path) -> list[str]:
    words = ["--batch_size=8", "--steps=40", "--save_every=20", "--log_every=10"]
    return [f"--data={data}", f"--checkpoint={checkpoint}", *words]


def assert_learned(losses: dict[int, str]) -> None:
    """Checks that a loss is far below that of a random guess among eight."""
    assert float(losses[40]) < 0.5 * math.log(8)


def test_jax_resumes_after_a_kill(coco, tmp_path):
    def run(killed: bool) -> Trained:
        words = [killed, EXAMPLES, "clip_jax", *options(coco, tmp_path / "a.npz")]
        return run_python(
            *("-c", RUN, *words),
            status=-signal.SIGKILL if killed else 0,
            JAX_COMPILATION_CACHE_DIR=tmp_path / "compiled",
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0,
        )

    killed, resumed = run(killed=True), run(killed=False)
    assert list(killed.losses) == [10, 20, 30, 40]
    assert resumed.losses == {step: killed.losses[step] for step in (30, 40)}
    assert_learned(resumed.losses)


def test_ranks_resume_after_a_kill_as_another_number(coco, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(RUN)

    def torchrun(ranks: int, killed: bool) -> Trained:
        words = ["-m", "torch.distributed.run", "--standalone"]
        # It gives up on what is silent for longer.
        words += ["--rdzv-conf=heartbeat_timeout=300", f"--nproc_per_node={ranks}"]
        words += [script, killed, EXAMPLES, "clip_torch"]
        return run_python(*words, *options(coco, tmp_path / "a.pt"), status=killed)

    killed, resumed = torchrun(2, killed=True), torchrun(1, killed=False)
    assert list(killed.losses) == [10, 20, 30, 40]
    assert list(resumed.losses) == [30, 40]
    # One rank has all rows, and gathers none; its sums are in another order.
    for step, loss in resumed.losses.items():
        assert float(loss) == pytest.approx(float(killed.losses[step]), rel=0.05)
    assert_learned(resumed.losses)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_examples_use_public_names_alone(path):
    text = path.read_text()
    assert not re.search(r"^\s*from (reader|beam_jobs)", text, re.M)
    names = set(re.findall(r"(?<![\w.])reader\.(\w+)", text))
    assert names <= set(reader.__all__)
