"""The blocks of docs/interchange.md, run as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from beam_jobs.sample_data import write_sample

PAGE = Path(__file__).parents[2] / "docs/interchange.md"
SECTIONS = {
    part.partition("\n")[0]: re.findall(r"```python\n(.*?)```", part, re.S)
    for part in PAGE.read_text().split("\n## ")
}
# What the blocks of a section have found, once they have run.
ENDS = {
    "TensorFlow Datasets": "assert image.shape[2] == 3, image.shape",
    "Croissant": "assert len(record['samples/captions']) == 1",
    "DALI": "assert images.at(0).shape[2] == 3",
    "PyTorch's tfrecord": "assert example['image/encoded'][:2] == b'\\xff\\xd8'",
    "pandas, pyarrow, DuckDB": "assert len(frame) == len(table) == 40 and longest",
    "TFRecords from other tools": (
        "assert len(list(batches)) == 2 and example['image'].shape"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page's command makes; and `coco`, which TFDS wrote."""
    folder = tmp_path_factory.mktemp("page")
    write_sample(str(folder), 40)
    (folder / "images").rename(folder / "photos")
    for path in (folder / "captions").iterdir():
        path.rename(folder / "photos" / path.name)
    (command,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    subprocess.run(["bash", "-euc", command], cwd=folder, env=environment, check=True)
    features = {
        "image": tfds.features.Image(),
        "captions": tfds.features.Sequence(tfds.features.Text()),
    }
    builder = tfds.builder_from_directory(str(folder / "dataset"))
    pictures = list(tfds.as_numpy(builder.as_dataset(split="train[:16]")))
    examples = {
        i: {"image": each["image/encoded"], "captions": list(each["image/caption"])}
        for i, each in enumerate(pictures)
    }
    written = tfds.dataset_builders.store_as_tfds_dataset(
        name="coco",
        version="1.0.0",
        data_dir=folder / "made",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": examples.items()},
    )
    Path(written.data_dir).rename(folder / "coco")
    return folder


def test_every_section_with_code_is_tried():
    assert {title for title, blocks in SECTIONS.items() if blocks} == {*ENDS}


@pytest.mark.parametrize("title", ENDS)
def test_the_blocks_of_a_section_work(folder, title):
    if title == "DALI" and sys.platform != "linux":
        pytest.skip("NVIDIA builds DALI for Linux alone")
    code = "".join(SECTIONS[title])
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ENDS[title]}"],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
