import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def benchmark(*args):
    command = [sys.executable, "-m", "tests.benchmarks.writing", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def folders(tmp_path):
    random = np.random.default_rng(0)
    images, captions = tmp_path / "images", tmp_path / "captions"
    images.mkdir(), captions.mkdir()
    for number in range(3):
        pixels = random.integers(0, 256, (300, 280, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.jpg")
        (captions / f"{number}.txt").write_text("a cat")
    return [
        f"--images={images}",
        f"--captions={captions}",
        f"--work={tmp_path / 'work'}",
    ]


@pytest.mark.slow
def test_each_case_tells_what_an_image_costs_to_what_it_costs_ours(folders, tmp_path):
    told = tmp_path / "told.json"
    small = ["--scale=0.02", "--rounds=1", "--cases=kept", f"--json={told}"]
    done = benchmark(*folders, *small)
    assert done.returncode == 0, done.stderr
    ours, loop = json.loads(told.read_text())["cases"]["kept"]
    assert [ours["contender"], loop["contender"]] == ["diptych", "copying"]
    for clock in ("wall", "cpu"):
        rates = (each[clock]["images_per_second"] for each in (ours, loop))
        assert loop[clock]["to_ours"] == pytest.approx([next(rates) / next(rates)])


def test_wrong_usage_is_told_before_anything_is_made(folders, tmp_path):
    done = benchmark(*folders, "--cases=kept,gill")
    assert done.returncode == 2
    assert "no such cases: gill; there are photographs, kept," in done.stderr
    assert not (tmp_path / "work").exists()
