import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.benchmarks.reading import probe, verdict
from tests.benchmarks.reading.roster import PEERS, Case
from tests.benchmarks.usage import tree_seconds

ROOT = Path(__file__).parents[2]
# `verdict` imports it, also in a process that has TensorFlow.
pytestmark = pytest.mark.usefixtures("torchvision")


def benchmark(*args):
    command = [sys.executable, "-m", "tests.benchmarks.reading", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_cpu_time_counts_descendants_that_go_on_living():
    spin = "import time\nwhile time.process_time() < 0.4: pass\n"
    last = f"{spin}print('spun', flush=True)\ntime.sleep(60)"
    first = (
        f"{spin}import subprocess, sys\n"
        f"with subprocess.Popen([sys.executable, '-c', {last!r}]) as below:\n"
        "    try: sys.stdin.read()\n"
        "    finally: below.kill()"
    )
    command = [sys.executable, "-c", first]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    before, own = tree_seconds(), time.process_time()
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == b"spun\n"
        took = tree_seconds() - before - (time.process_time() - own)
        child.stdin.close()
    assert 0.75 < took < 1.5


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("region", [(0, 0, 336, 256), (150, 31, 100, 130)])
def test_the_probe_shows_region_flip_and_filter(region, flip, channels_first):
    left, top, width, height = region
    jpeg = simplejpeg.encode_jpeg(probe.picture(), quality=95)
    cut = Image.open(io.BytesIO(jpeg)).crop((left, top, left + width, top + height))
    smooth = np.asarray(cut.resize((224, 224), Image.Resampling.BILINEAR))
    rough = cv2.resize(np.asarray(cut), (224, 224), interpolation=cv2.INTER_LINEAR)
    images = np.stack([smooth, rough])[:, :, :: -1 if flip else 1]
    if channels_first:
        images = images.transpose(0, 3, 1, 2)
    for shown in (images, images.astype(np.float32) / 255):
        views = probe.views(shown, 255 if shown.dtype == np.uint8 else 1)
        assert np.allclose(np.array(views[:4]).T, region, atol=1)
        assert (views.flipped == flip).all()
        if width > 300:
            assert views.stripes[0] < verdict._FEW_STRIPES < views.stripes[1]


def drawn(seed):
    """What `task.check` holds of an epoch of torchvision's regions."""
    random = np.random.default_rng(seed)
    areas, shapes = (np.array(each) for each in verdict.expected_regions(512))
    area = areas * probe.WIDTH * probe.HEIGHT
    order = random.permutation(512)
    width, height = np.sqrt(area * np.exp(shapes)), np.sqrt(area / np.exp(shapes))
    room = [probe.WIDTH, probe.HEIGHT] - np.stack([width, height], axis=1)
    left, top = (random.random((512, 2)) * room).T
    views = (left, top, width, height, random.random(512) < 0.5, np.full(512, 0.2))
    return {
        name: array[order].tolist()
        for name, array in zip(probe.Views._fields, views, strict=True)
    }


def held(*epochs):
    return {
        "shapes": [[64, 224, 224, 3]],
        "dtypes": ["uint8"],
        "min": 10.0,
        "max": 240.0,
        "epochs": list(epochs),
    }


CASE = Case("random_resized", "uint8", "dali")


def test_a_peer_that_does_the_work_has_no_faults():
    assert verdict.faults(held(drawn(0), drawn(1)), CASE, PEERS["dali"]) == []


@pytest.mark.parametrize(
    "fault, change",
    [
        ("0% of images are flipped", {"flipped": [False] * 512}),
        ("0% of smaller images antialiased", {"stripes": [0.6] * 512}),
        ("areas have quartiles", {"width": [224.0] * 512, "height": [224.0] * 512}),
        ("outside of the image", {"left": [300.0] * 512}),
    ],
)
def test_a_peer_that_does_something_else_is_left_out(fault, change):
    epochs = [drawn(0) | change, drawn(1) | change]
    assert fault in "; ".join(verdict.faults(held(*epochs), CASE, PEERS["dali"]))


def test_a_peer_whose_epochs_are_the_same_is_left_out():
    again = verdict.faults(held(drawn(0), drawn(0)), CASE, PEERS["dali"])
    assert again == ["100% of regions come again in the next epoch"]


def test_random_crops_are_no_center_crops_and_of_the_asked_dtype():
    case = CASE._replace(task="center")
    wrong = verdict.faults(held(drawn(0), drawn(1)), case, PEERS["dali"])
    assert "pixels off the center" in wrong[0]
    case = CASE._replace(dtype="float32")
    wrong = verdict.faults(held(drawn(0), drawn(1)), case, PEERS["dali"])
    assert wrong == ["dtypes ['uint8']", "values from 10.0 to 240.0"]


@pytest.fixture
def folders(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).resize((312, 260)).save(images / "0000.jpg")
    for number in range(1, 640):
        os.link(images / "0000.jpg", images / f"{number:04}.jpg")
    return [f"--images={images}", f"--work={tmp_path / 'work'}"]


@pytest.mark.slow
def test_each_peer_is_checked_and_compared_to_ours(folders, tmp_path):
    told = tmp_path / "told.json"
    small = [*folders, "--quick", f"--json={told}"]
    done = benchmark(*small, "--peers=diptych,torchvision")
    assert done.returncode == 0, done.stderr
    ours, torchvision = json.loads(told.read_text())["cases"]
    assert [ours["peer"], torchvision["peer"]] == ["diptych", "torchvision"]
    assert ours["antialiased"] == torchvision["antialiased"] == 1
    rates = (each["images_per_cpu_second"] for each in (ours, torchvision))
    assert torchvision["ours_to_it"] == pytest.approx([next(rates) / next(rates)])

    done = benchmark(*small, "--peers=diptych", "--busy")
    assert done.returncode == 0, done.stderr
    beside = {case["beside"]: case for case in json.loads(told.read_text())["cases"]}
    rates = (beside[it]["images_per_second"] for it in ("thread", "process"))
    ratio = beside["thread"]["thread_to_process"]
    assert ratio == pytest.approx([next(rates) / next(rates)])


def test_wrong_usage_is_reported_before_anything_is_made(folders, tmp_path):
    done = benchmark(*folders, "--tasks=center,middle")
    assert done.returncode == 2
    assert "no such tasks: middle; there are random_resized, center," in done.stderr
    assert not (tmp_path / "work").exists()
