"""What goes wrong with COCO's files, and what is then said."""

import json
from pathlib import Path
from typing import Any

import pytest
from paired_sources import paired, put_files

from beam_jobs.config.job_config import JobConfig
from reader.contract.errors import UsageError


@pytest.fixture
def coco(tmp_path: Path):
    """`coco(images, annotations)` pairs a file, whose images a.jpg and b.jpg exist."""
    put_files(tmp_path / "i", "a.jpg", "b.jpg")

    def coco(images: list[Any], annotations: list[Any] | None, **more: Any):
        data = {"images": images, "info": {}, "annotations": annotations}
        if annotations is None:
            del data["annotations"]
        (tmp_path / "c.json").write_text(json.dumps(data | more))
        root = str(tmp_path / "i")
        return paired(JobConfig(coco=str(tmp_path / "c.json"), images=root, output="o"))

    return coco


def named(number: int | str, name: str = "a.jpg") -> dict[str, Any]:
    return {"id": number, "file_name": name}


def caption(image: Any, text: Any = "A cat.") -> dict[str, Any]:
    return {"id": 1, "image_id": image, "caption": text}


@pytest.mark.parametrize(
    ("image", "annotation", "detail"),
    [
        ("7", 7, 'no image has the id 7, but one has "7": write ids everywhere as'),
        (7, "7", 'no image has the id "7", but one has 7: write ids everywhere as'),
        (7, "007", 'no image has the id "007", but one has 7: write ids'),
        (7, 8, "no image has the id 8"),
        (7, "seven", "no image has the id seven"),
        (7, "9" * 5000, "no image has the id 9999"),
    ],
)
def test_ids_of_another_type_get_a_hint(coco, image, annotation, detail):
    pairs, rejects = coco([named(image)], [caption(annotation)])
    assert not pairs
    assert {one.reason for one in rejects.values()} == {
        "unpaired_image",
        "unpaired_caption",
    }
    said = rejects["c.json:annotations:1"].detail
    assert said.startswith(detail)
    assert ("but one has" in said) == ("but one has" in detail)


def test_ids_of_both_types_are_two_ids(coco):
    pairs, rejects = coco(
        [named(1, "a.jpg"), named("1", "b.jpg")],
        [caption("1", "of b"), caption(1, "of a")],
    )
    assert not rejects
    assert {key: pair.texts for key, pair in pairs.items()} == {
        "a": ("of a",),
        "b": ("of b",),
    }


@pytest.mark.parametrize("id_", [True, 1.0, None, [1]])
def test_what_is_no_id_matches_none(coco, id_):
    pairs, rejects = coco([named(1)], [caption(id_)])
    assert not pairs
    assert rejects["c.json:annotations:1"].reason == "bad_row"


# Fields of the annotations in other files that COCO and its like offer.
OTHER_ANNOTATIONS = {
    "instances": {"bbox": [1, 2, 3, 4], "category_id": 1, "segmentation": []},
    "person_keypoints": {"bbox": [1, 2, 3, 4], "keypoints": [1], "num_keypoints": 1},
    "panoptic": {"segments_info": [], "file_name": "a.png"},
    "densepose": {"dp_masks": [], "dp_I": []},
}


@pytest.mark.parametrize("kind", OTHER_ANNOTATIONS)
def test_files_of_other_annotations_are_refused_by_name_at_once(coco, kind):
    annotation = {"id": 1, "image_id": 1, **OTHER_ANNOTATIONS[kind]}
    message = (
        rf"--coco=.*c\.json: no annotation has a caption, only .*"
        rf"{min(OTHER_ANNOTATIONS[kind])}.*: pass the file of captions, such as "
        r"captions_train2017\.json"
    )
    with pytest.raises(UsageError, match=message):
        coco([named(1)], [annotation] * 3, categories=[{"id": 1}])


def test_a_file_with_some_captions_is_read(coco):
    pairs, rejects = coco([named(1)], [{"id": 1, "image_id": 1}, caption(1)])
    assert pairs["a"].texts == ("A cat.",)
    assert [*rejects] == ["c.json:annotations:1"]


@pytest.mark.parametrize("annotations", [None, [], [caption(2)]])
def test_an_image_without_annotations_is_said_to_have_none(coco, annotations):
    pairs, rejects = coco([named(1), named(2, "b.jpg")], annotations)
    assert rejects["a"].reason == "unpaired_image"
    assert rejects["a"].detail == "no annotation has its id"
    assert set(pairs) == ({"b"} if annotations else set())


@pytest.mark.parametrize("text", [[], [None]])
def test_an_annotation_without_a_caption_is_said_to_hold_none(coco, text):
    _, rejects = coco([named(1)], [caption(1, text)])
    assert rejects["a"].detail == "its annotation holds no caption"
