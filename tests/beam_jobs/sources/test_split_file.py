"""Karpathy's split files: their images, captions and splits."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from paired_sources import paired, put_files

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from reader.contract.errors import UsageError

COCO = [
    ("train2014", "COCO_train2014_000000000009.jpg", "train"),
    ("val2014", "COCO_val2014_000000000042.jpg", "val"),
    ("val2014", "COCO_val2014_000000000073.jpg", "test"),
    ("val2014", "COCO_val2014_000000000074.jpg", "restval"),
]


def image_of(folder: str | None, name: str, split: str, number: int = 0) -> dict:
    """As in the files of the project; Flickr's have no `filepath` and no `cocoid`."""
    texts = [f"Caption {place} of {name}." for place in (1, 0)]
    image = {
        "sentids": [2 * number, 2 * number + 1],
        "imgid": number,
        "sentences": [
            {
                "tokens": text.lower().rstrip(".").split(),
                "raw": text,
                "imgid": number,
                "sentid": 2 * number + place,
            }
            for place, text in enumerate(texts)
        ],
        "split": split,
        "filename": name,
    }
    return image if folder is None else image | {"filepath": folder, "cocoid": number}


IMAGES = [image_of(*fields, number) for number, fields in enumerate(COCO)]


@pytest.fixture
def split_file(tmp_path: Path):
    """`split_file(images, …)` pairs a file, whose images are in `i/`."""

    def split_file(images: list[Any], **more: Any):
        path = tmp_path / "dataset_coco.json"
        path.write_text(json.dumps({"images": images, "dataset": "coco"}))
        root = str(tmp_path / "i")
        return paired(JobConfig(coco=str(path), images=root, output="o", **more))

    return split_file


@pytest.mark.parametrize("is_flat", [False, True])
def test_images_are_in_their_folders_or_all_in_one(split_file, tmp_path, is_flat):
    names = [name if is_flat else f"{folder}/{name}" for folder, name, _ in COCO]
    put_files(tmp_path / "i", *names)
    pairs, rejects = split_file(IMAGES)
    assert not rejects
    assert set(pairs) == {name.removesuffix(".jpg") for name in names}
    for name, (_, own, _) in zip(names, COCO, strict=True):
        pair = pairs[name.removesuffix(".jpg")]
        assert pair.image.path == name.encode()
        assert pair.texts == (f"Caption 1 of {own}.", f"Caption 0 of {own}.")


def test_each_folder_is_looked_for_on_its_own(split_file, tmp_path):
    folder, name, _ = COCO[0]
    put_files(tmp_path / "i", f"{folder}/{name}", *(one[1] for one in COCO[1:3]))
    pairs, rejects = split_file(IMAGES)
    assert [pair.image.path.decode() for pair in pairs.values()] == [
        f"{folder}/{name}",
        COCO[1][1],
        COCO[2][1],
    ]
    assert [one.reason for one in rejects.values()] == ["missing_image"]


def test_flickrs_files_name_no_folder(split_file, tmp_path):
    put_files(tmp_path / "i", "1000092795.jpg")
    pairs, rejects = split_file([image_of(None, "1000092795.jpg", "train")])
    assert not rejects
    assert [*pairs] == ["1000092795"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["train", "val", "test", "train"]),
        ({"split_column": "split"}, ["train", "val", "test", "restval"]),
        ({"splits": {"all_of_them": Fraction(1)}}, ["all_of_them"] * 4),
        ({"split_by": "folder"}, ["train"] * 4),
    ],
)
def test_splits_are_the_files_unless_others_are_asked_for(
    split_file, tmp_path, asked, expected
):
    put_files(tmp_path / "i", *(name for _, name, _ in COCO))
    pairs, rejects = split_file(IMAGES, **asked)
    assert not rejects
    splits = [pairs[name.removesuffix(".jpg")].split for _, name, _ in COCO]
    assert splits == expected


def test_a_file_without_splits_leaves_them_to_the_hash(split_file, tmp_path):
    put_files(tmp_path / "i", *(name for _, name, _ in COCO))
    images = [{k: v for k, v in image.items() if k != "split"} for image in IMAGES]
    pairs, rejects = split_file(images)
    assert not rejects
    assert {pair.split for pair in pairs.values()} == {"train"}


def test_fields_of_images_are_columns(split_file, tmp_path):
    put_files(tmp_path / "i", *(name for _, name, _ in COCO))
    columns = parse_columns("cocoid:int,filepath:str")
    pairs, _ = split_file(IMAGES, columns=columns, key_column="cocoid")
    assert {key: pair.values for key, pair in pairs.items()} == {
        str(number): (number, folder) for number, (folder, _, _) in enumerate(COCO)
    }
    with pytest.raises(UsageError, match='no image has a field "coco_id", only cocoid'):
        split_file(IMAGES, key_column="coco_id")


def test_whatever_is_wrong_is_a_reject_of_its_own(split_file, tmp_path):
    put_files(tmp_path / "i", *"abcdef")
    sentence = {"raw": "Fine."}
    images: list[Any] = [
        {"filename": "a", "sentences": [sentence, {"tokens": []}, None], "split": "x"},
        {"filename": "b", "sentences": [], "split": "x"},
        {"filename": "c", "sentences": [sentence]},
        {"filename": "d", "sentences": [sentence], "split": "Train"},
        {"filename": "gone", "sentences": [sentence], "split": "x"},
        {"filename": "../a", "sentences": [sentence], "split": "x"},
        {"filename": "a", "filepath": "..", "sentences": [sentence], "split": "x"},
        {"filename": "e", "filepath": 7, "sentences": [sentence], "split": "x"},
        {"filename": "e", "sentences": "Fine.", "split": "x"},
        {"filename": "f", "split": "x"},
        {"file_name": "e", "sentences": [sentence], "split": "x"},
        None,
    ]
    pairs, rejects = split_file(images)
    assert {key: pair.texts for key, pair in pairs.items()} == {"a": ("Fine.",)}
    file = "dataset_coco.json:images"
    assert {key: one.reason for key, one in rejects.items()} == {
        f"{file}:1:sentences:2": "bad_row",
        f"{file}:1:sentences:3": "bad_row",
        "b": "unpaired_image",
        "c": "bad_value",
        "d": "bad_value",
        "gone": "missing_image",
        f"{file}:6": "outside_root",
        f"{file}:7": "outside_root",
        f"{file}:8": "bad_row",
        "e": "bad_row",
        "f": "bad_row",
        f"{file}:11": "bad_row",
        f"{file}:12": "bad_row",
    }
    assert rejects["b"].detail == "it has no sentences"


def test_files_that_name_splits_do_not_mix_with_files_that_do_not(tmp_path):
    put_files(tmp_path / "i", "a.jpg")
    (tmp_path / "a.json").write_text(json.dumps({"images": IMAGES}))
    other = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "A."}],
    }
    (tmp_path / "b.json").write_text(json.dumps(other))
    fields = {"coco": f"{tmp_path}/*.json", "images": str(tmp_path / "i")}
    message = r"a\.json names the splits .*/b\.json does not: build them one"
    with pytest.raises(UsageError, match=message):
        paired(JobConfig(output="o", **fields))
    pairs, _ = paired(JobConfig(output="o", **fields, splits={"one": Fraction(1)}))
    assert pairs["a"].split == "one"
