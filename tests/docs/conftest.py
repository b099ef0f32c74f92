"""What a reader of the docs has in the folder where he tries them.

Photographs are real ones where there are any, and drawn scenes elsewhere: pages must
work either way. Each part is made once.
"""

import csv
import io
import json
import os
import random
import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import foreign_records
import fork_server
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fork_server import Fork
from forks import Forks
from pages import ROOT, blocks_of
from PIL import Image
from training_scripts import Scripts

from beam_jobs.config.values import parse_splits
from beam_jobs.sample_data import write_sample

Fill = Callable[[Path], None]

# Pages whose names from tests/support/taken_for_granted.py need both: PyTorch after
# TensorFlow would end the process.
PYTORCH_FIRST = ("docs/order.md", "docs/training.md")


class Photo(NamedTuple):
    """A photograph with captions."""

    path: Path
    captions: list[str]


@pytest.fixture(scope="session")
def shell_path(forks: Forks, tmp_path_factory) -> str:
    """A PATH whose `diptych` is a fork of a process that has imported Beam."""
    folder = tmp_path_factory.mktemp("bin")
    script, interpreter = folder / "diptych", Path(sys.executable)
    words = [interpreter, "-SE", fork_server.__file__, forks.path, "-m", "beam_jobs"]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    script.chmod(0o755)
    return os.pathsep.join([str(folder), str(interpreter.parent), os.environ["PATH"]])


@pytest.fixture(scope="session")
def run_page(
    forks: Forks, scripts: Scripts, shell_path: str
) -> Callable[[str, Path], Fork]:
    """`run_page(page, folder)` runs the blocks of a page in a process of its own."""

    def run_page(page: str, folder: Path) -> Fork:
        python = "".join(b.text for b in blocks_of(page) if b.language == "python")
        needs_tensorflow = re.search(
            r"reader\.load\(|import (tensorflow|keras)", python
        )
        first = needs_tensorflow and page not in PYTORCH_FIRST
        server = scripts if first else forks
        script = ROOT / "tests/support/pages.py"
        environment = {**fork_server.environment(), "PATH": shell_path}
        return server.start([script, page], cwd=folder, env=environment)

    return run_page


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> list[Photo]:
    """A few photographs, or else scenes, with five captions each."""
    beside = ROOT.parent / "shared/data"
    data = Path(os.environ.get("DIPTYCH_DATA", beside), "pairs")
    if not data.is_dir():
        data = tmp_path_factory.mktemp("photos")
        write_sample(str(data), 40, captions_per_image=5)
        (data / "captions").rename(data / "captions_multi")
    images = {path.stem: path for path in (data / "images").iterdir()}
    texts = sorted((data / "captions_multi").glob("*.txt"))
    found = [Photo(images[t.stem], t.read_text().splitlines()) for t in texts]
    return [photo for photo in found if photo.path.suffix == ".jpg"][:32]


@pytest.fixture(scope="session")
def own_folders(tmp_path_factory) -> Fill:
    """`photos/` and `texts/`, with keys such as `park/0042`, and `captions.csv`."""
    drawn = tmp_path_factory.mktemp("drawn")
    write_sample(str(drawn), 400)

    def fill(folder: Path) -> None:
        for name, source in (("photos", "images"), ("texts", "captions")):
            target = folder / name / "park"
            target.mkdir(parents=True)
            for path in (drawn / source).iterdir():
                number = path.stem.removeprefix("scene-0")
                (target / f"{number}{path.suffix}").symlink_to(path)
        rows = [("file_name", "caption", "score", "url", "fold")]
        for image in sorted((folder / "photos/park").iterdir()):
            text = (folder / f"texts/park/{image.stem}.txt").read_text().strip()
            rows.append((f"park/{image.name}", text, "0.5", "a.b/c", "train"))
        with (folder / "captions.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return fill


@pytest.fixture(scope="session")
def built(own_folders: Fill, build, tmp_path_factory) -> Path:
    """A dataset of those folders, in splits train and validation."""
    folder = tmp_path_factory.mktemp("built")
    own_folders(folder)
    return build(
        folder / "photos",
        folder / "texts",
        folder / "out",
        splits=parse_splits("train=0.8,validation=0.2"),
        num_shards=5,
        image_size=72,
    )


@pytest.fixture(scope="session")
def demo(forks: Forks, tmp_path_factory) -> Fill:
    """`out/`, made as the recipes tell whoever has no dataset."""
    folder = tmp_path_factory.mktemp("demo")
    demo = forks.start_command(["demo", "out"], cwd=folder)
    assert demo.wait() == 0, demo.communicate()
    return lambda target: (target / "out").symlink_to(folder / "out")


@pytest.fixture(scope="session")
def own_demo(demo: Fill) -> Fill:
    """`out/`, the same dataset again, to which a page may add layers and selections."""

    def fill(folder: Path) -> None:
        demo(folder)
        source = (folder / "out").resolve()
        (folder / "out").unlink()
        shutil.copytree(source, folder / "out")

    return fill


@pytest.fixture
def s3_demo(demo: Fill, s3_store, monkeypatch) -> Fill:
    """`s3://bucket/out`, the same dataset, and an account in the environment."""

    def fill(folder: Path) -> None:
        demo(folder)
        s3_store.upload(folder / "out", "out")
        for name, value in s3_store.environment_at(s3_store.endpoint).items():
            monkeypatch.setenv(name, value)

    return fill


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> list[Photo]:
    """Drawn scenes as JPEGs, with two captions each."""
    drawn = tmp_path_factory.mktemp("scenes")
    write_sample(str(drawn), 40, captions_per_image=2)
    photos = []
    for text in sorted((drawn / "captions").iterdir()):
        (image,) = (drawn / "images").glob(f"{text.stem}.*")
        path = drawn / f"{text.stem}.jpg"
        Image.open(image).convert("RGB").save(path)
        photos.append(Photo(path, text.read_text().splitlines()))
    return photos


@pytest.fixture(scope="session")
def loose_files(scenes: list[Photo]) -> Fill:
    """`photos/` and `texts/`, with a text file for each image."""

    def fill(folder: Path) -> None:
        for name in ("photos", "texts"):
            (folder / name).mkdir()
        for photo in scenes:
            (folder / "photos" / photo.path.name).symlink_to(photo.path)
            text = folder / f"texts/{photo.path.stem}.txt"
            text.write_text(photo.captions[0])

    return fill


@pytest.fixture(scope="session")
def tars(scenes: list[Photo]) -> Fill:
    """`shards/` as WebDataset has it, and `laion/`, as img2dataset writes it."""

    def fill(folder: Path) -> None:
        for number, start in enumerate(range(0, len(scenes), 20)):
            names = [f"{name}/{number:05d}.tar" for name in ("shards", "laion")]
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
            with (
                tarfile.open(folder / names[0], "w") as plain,
                tarfile.open(folder / names[1], "w") as downloaded,
            ):
                for row, photo in enumerate(scenes[start : start + 20]):
                    caption, image = photo.captions[0], photo.path.read_bytes()
                    key = f"{number:05d}{row:04d}"
                    fields = {
                        "caption": caption,
                        "url": f"https://example.org/{key}.jpg",
                        "key": key,
                        "status": "success",
                        "error_message": None,
                        "similarity": 0.1 + 0.02 * row,
                    }
                    _add(plain, f"{row:04d}.jpg", image)
                    _add(plain, f"{row:04d}.txt", caption.encode())
                    _add(downloaded, f"{key}.jpg", image)
                    _add(downloaded, f"{key}.txt", caption.encode())
                    _add(downloaded, f"{key}.json", json.dumps(fields).encode())

    return fill


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="session")
def hub_download(scenes: list[Photo]) -> Fill:
    """`hub/`, Parquet files with images, as Hugging Face's hub has them."""

    def fill(folder: Path) -> None:
        data = folder / "hub/data"
        data.mkdir(parents=True)
        for number in range(2):
            part = scenes[number::2]
            images = [
                {"bytes": photo.path.read_bytes(), "path": photo.path.name}
                for photo in part
            ]
            table = pa.table({"image": images, "text": [p.captions[0] for p in part]})
            pq.write_table(table, data / f"train-{number:05d}-of-00002.parquet")

    return fill


@pytest.fixture(scope="session")
def tfds_download(scenes: list[Photo]) -> Fill:
    """`coco_captions/`, TFRecords with the names and the features of TFDS."""

    def fill(folder: Path) -> None:
        data = folder / "coco_captions/1.1.0"
        data.mkdir(parents=True)
        for number in range(2):
            name = f"coco_captions-train.tfrecord-{number:05d}-of-00002"
            rows = (
                {
                    "image": photo.path.read_bytes(),
                    "image/filename": photo.path.name.encode(),
                    "captions/text": [text.encode() for text in photo.captions],
                }
                for photo in scenes[number::2]
            )
            foreign_records.write(data / name, rows)

    return fill


@pytest.fixture(scope="session")
def datasets(built: Path, photos: list[Photo]) -> Fill:
    """`out/`, `coco/` and `flickr/`, and `others/`, which nobody of ours wrote."""

    def fill(folder: Path) -> None:
        for name in ("out", "coco", "flickr"):
            (folder / name).symlink_to(built)
        write_others(folder / "others", photos)

    return fill


def write_others(folder: Path, photos: list[Photo]) -> None:
    """Writes TFRecords with names of features that nobody would guess."""
    folder.mkdir()
    rows = (
        {
            "picture": photos[number % len(photos)].path.read_bytes(),
            "text": photos[number % len(photos)].captions[0].encode(),
            "words": [number, number + 1],
        }
        for number in range(64)
    )
    foreign_records.write(folder / "a.record", rows)


@pytest.fixture(scope="session")
def coco_download(photos: list[Photo]) -> Fill:
    """COCO 2017's captions and images, as they are when unzipped."""

    def fill(folder: Path) -> None:
        (folder / "annotations").mkdir()
        parts = (("train2017", photos[:-8]), ("val2017", photos[-8:]))
        numbers = iter(range(10**6))
        for name, part in parts:
            (folder / name).mkdir()
            content: dict[str, list] = {"images": [], "annotations": []}
            for photo in part:
                image_id = next(numbers)
                file_name = f"{image_id:012d}.jpg"
                (folder / name / file_name).symlink_to(photo.path)
                content["images"].append({"id": image_id, "file_name": file_name})
                content["annotations"] += [
                    {"id": next(numbers), "image_id": image_id, "caption": caption}
                    for caption in photo.captions
                ]
            random.Random(0).shuffle(content["annotations"])
            path = folder / "annotations" / f"captions_{name}.json"
            path.write_text(json.dumps(content))
        put_split_file(folder / "dataset_coco.json", photos, folder)

    return fill


def put_split_file(path: Path, photos: list[Photo], images: Path | None = None) -> None:
    """Writes Karpathy's split file: of COCO's images, linked here, or of Flickr's."""
    splits = ("train", "restval", "val", "test")
    content = []
    for number, photo in enumerate(photos):
        split = splits[number % 4]
        image = {
            "filename": flickr_name(number),
            "split": split,
            "sentences": [{"raw": caption} for caption in photo.captions],
        }
        if images is not None:
            part = "train2014" if split == "train" else "val2014"
            name = f"COCO_{part}_{number:012d}.jpg"
            image |= {"filepath": part, "filename": name}
            (images / part).mkdir(exist_ok=True)
            (images / part / name).symlink_to(photo.path)
        content.append(image)
    path.write_text(json.dumps({"images": content, "dataset": "…"}))


def flickr_name(number: int) -> str:
    return f"{1000268201 + number}_693b08cb0e.jpg"


@pytest.fixture(scope="session")
def flickr_download(photos: list[Photo]) -> Fill:
    """Flickr8k as it is when unzipped, Karpathy's file of it, and Flickr30k."""

    def fill(folder: Path) -> None:
        images = folder / "Flickr8k/Images"
        images.mkdir(parents=True)
        rows = [("image", "caption")]
        for number, photo in enumerate(photos):
            name = flickr_name(number)
            (images / name).symlink_to(photo.path)
            rows += [(name, caption) for caption in photo.captions]
        with (folder / "Flickr8k/captions.txt").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        put_split_file(folder / "dataset_flickr8k.json", photos)
        (folder / "Flickr30k").mkdir()
        (folder / "Flickr30k/Images").symlink_to(images)
        lines = [f"{name}| {n % 5}| {text}" for n, (name, text) in enumerate(rows[1:])]
        heading = "image_name| comment_number| comment"
        (folder / "Flickr30k/results.csv").write_text("\n".join([heading, *lines]))

    return fill
