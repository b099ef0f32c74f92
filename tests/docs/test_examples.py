"""The examples, with few scenes and steps: they learn, and resume after a kill."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from training_scripts import run_program

import reader

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PATIENCE_SECONDS = 900
SMALL = ("--image_size=32", "--batch_size=16")

pytestmark = pytest.mark.slow

# Killed while it replaces a checkpoint, a run loses most. (After torchrun has started
# it again, it is not.)
RUN = """
import os, runpy, signal, sys
killed, folder, name, *arguments = sys.argv[1:]
replace = os.replace

def replace_once(source, target):
    if str(target).endswith((".h5", ".npz", ".pt")) and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

if killed == "True" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
    os.replace = replace_once
sys.path.insert(0, folder)
sys.argv = [name, *arguments]
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


RunKeras = Callable[..., Trained]


@pytest.fixture(scope="module")
def run_keras(scripts) -> RunKeras:
    """Runs an example to its end, or until its second checkpoint kills it.

    Keras imports TensorFlow, which a fork need not do again.
    """

    def run(name: str, *args, backend: str = "tensorflow", killed: bool = False):
        code = f"import os; os.environ['KERAS_BACKEND'] = {backend!r}\n{RUN}"
        words = (killed, EXAMPLES, name, *args)
        done = scripts.run(code, *words, patience=PATIENCE_SECONDS)
        assert done.status == (-signal.SIGKILL if killed else 0), done
        return trained(done.out)

    return run


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
    metrics = run_keras("virtual_devices", *words).metrics
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
    metrics = run_keras("captioning", *words).metrics
    assert metrics["images"] == num_examples(drawn.data, "validation")[0]
    assert metrics["loss_at_end"] < 0.7 * metrics["loss_at_start"]
    assert metrics["words_by_chance"] < metrics["words_right"] <= 1
    assert 0 <= metrics["true_captions"] <= 1
    assert 0 <= metrics["shapes_named"] <= 1


def test_retrieval_finds_more_than_chance_would_on_jax_too(drawn, run_keras):
    # What it has seen: few scenes are enough for that.
    words = (f"--data={drawn.data}", "--eval_split=train", "--steps=120", *SMALL)
    metrics = run_keras("retrieval", *words, backend="jax").metrics
    assert (metrics["images"], metrics["captions"]) == num_examples(drawn.data, "train")
    for way in ("image_to_text", "text_to_image"):
        for k in (1, 5):
            chance = metrics[f"{way}_chance_at_{k}"]
            assert 2 * chance < metrics[f"{way}_recall_at_{k}"] <= 1
    # A dataset that exists is not drawn again.
    assert (drawn.data / "manifest.json").stat() == drawn.manifest


FEW_STEPS = ("--steps=9", "--save_every=3", "--image_size=32", "--batch_size=8")


def test_captioning_of_coco_resumes_after_a_kill(
    run_keras, coco_download, diptych, tmp_path
):
    coco_download(tmp_path)
    source = f"--coco={tmp_path}/annotations/captions_train2017.json"
    more = (f"--images={tmp_path}/train2017", "--splits=train=0.7,validation=0.3")
    assert diptych("build", source, *more, f"--output={tmp_path}/out").status == 0
    saved = tmp_path / "a.weights.h5"
    words = (f"--data={tmp_path}/out", f"--checkpoint={saved}", *FEW_STEPS)
    killed = run_keras("captioning", *words, killed=True)
    resumed = run_keras("captioning", *words)
    assert (list(killed.losses), list(resumed.losses)) == ([3], [6, 9])
    metrics = resumed.metrics
    assert metrics["loss_at_end"] < metrics["loss_at_start"]
    assert metrics["images"] == num_examples(tmp_path / "out", "validation")[0]
    assert 0 <= metrics["words_right"] <= 1


def test_retrieval_of_flickr_resumes_as_if_it_had_not_been_killed(
    run_keras, flickr_download, diptych, tmp_path
):
    flickr_download(tmp_path)
    source = f"--coco={tmp_path}/dataset_flickr8k.json"
    images = f"--images={tmp_path}/Flickr8k/Images"
    assert diptych("build", source, images, f"--output={tmp_path}/out").status == 0
    undisturbed, saved = (tmp_path / f"{name}.weights.h5" for name in "ab")
    words = (f"--data={tmp_path}/out", "--eval_split=val", *FEW_STEPS)
    expected = run_keras("retrieval", *words, f"--checkpoint={undisturbed}")
    words = (*words, f"--checkpoint={saved}")
    killed = run_keras("retrieval", *words, killed=True)
    resumed = run_keras("retrieval", *words)
    assert list(expected.losses) == [3, 6, 9]
    assert (list(killed.losses), list(resumed.losses)) == ([3], [6, 9])
    assert killed.losses | resumed.losses == expected.losses
    assert resumed.metrics == expected.metrics
    found = expected.metrics["images"], expected.metrics["captions"]
    assert found == num_examples(tmp_path / "out", "val")


def run_python(*words: object, status: int = 0) -> Trained:
    """Runs an example that is no Keras program, with a thread for each device."""
    done = run_program(
        [sys.executable, *map(str, words)],
        env={"OMP_NUM_THREADS": "1"},
        patience=PATIENCE_SECONDS,
    )
    assert done.status == status, done
    return trained(done.out)


def options(data: Path, checkpoint: Path) -> list[str]:
    words = ["--batch_size=16", "--steps=12", "--save_every=4", "--log_every=2"]
    return [f"--data={data}", f"--checkpoint={checkpoint}", *words]


def test_jax_resumes_after_a_kill(drawn, tmp_path):
    def run(name: str, killed: bool = False) -> Trained:
        words = options(drawn.data, tmp_path / f"{name}.npz")
        status = -signal.SIGKILL if killed else 0
        return run_python(
            "-c", RUN, killed, EXAMPLES, "clip_jax", *words, status=status
        )

    expected = run("undisturbed")
    killed, resumed = run("killed", killed=True), run("killed")
    assert list(expected.losses) == [2, 4, 6, 8, 10, 12]
    assert list(killed.losses) == [2, 4, 6, 8]
    assert list(resumed.losses) == [6, 8, 10, 12]
    assert killed.losses | resumed.losses == expected.losses
    assert killed.losses.items() <= expected.losses.items()
    assert resumed.metrics == expected.metrics


def test_ranks_resume_after_a_kill(drawn, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(RUN)

    def torchrun(ranks: int, killed: bool) -> Trained:
        words = ["-m", "torch.distributed.run", "--standalone", "--max-restarts=1"]
        words += [f"--nproc_per_node={ranks}", script, killed, EXAMPLES, "clip_torch"]
        return run_python(*words, *options(drawn.data, tmp_path / f"{ranks}.pt"))

    # One rank has all rows, and gathers none.
    expected, killed = torchrun(1, killed=False), torchrun(2, killed=True)
    assert list(expected.losses) == list(killed.losses) == [2, 4, 6, 8, 10, 12]
    # Torchrun started both ranks again, at the last checkpoint.
    assert [*killed.repeated] == [6, 8]
    assert all(before == after for before, after in killed.repeated.values())
    # Sums over ranks are in another order.
    for step, loss in expected.losses.items():
        assert float(killed.losses[step]) == pytest.approx(float(loss), abs=2e-3)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_examples_use_public_names_alone(path):
    text = path.read_text()
    assert not re.search(r"^\s*from (reader|beam_jobs)", text, re.M)
    names = set(re.findall(r"(?<![\w.])reader\.(\w+)", text))
    assert names <= set(reader.__all__)
