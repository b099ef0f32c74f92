"""What a reader of the docs has in the folder where he tries them.

Photographs are real ones where there are any, and drawn scenes elsewhere: pages must
work either way. Each part is made once.
"""

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import ROOT

from beam_jobs.config.values import parse_splits
from beam_jobs.sample_data import write_sample

Fill = Callable[[Path], None]


class Photo(NamedTuple):
    """A photograph with captions."""

    path: Path
    captions: list[str]


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
def demo(tmp_path_factory) -> Fill:
    """`out/`, made as the recipes tell whoever has no dataset."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "beam_jobs", "demo", "out"]
    subprocess.run(command, cwd=folder, check=True)
    return lambda target: (target / "out").symlink_to(folder / "out")


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
    import tensorflow as tf

    def feature(*values: bytes | int) -> tf.train.Feature:
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "a.record")) as writer:
        for number in range(64):
            photo = photos[number % len(photos)]
            features = {
                "picture": feature(photo.path.read_bytes()),
                "text": feature(photo.captions[0].encode()),
                "words": feature(number, number + 1),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


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
