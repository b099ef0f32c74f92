"""Why an image has no caption, as each source says it."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from paired_sources import paired, put_files

from beam_jobs.config.job_config import JobConfig


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"text": None}, "its caption is null"),
        ({"text": [None, None]}, "its caption is null"),
        ({"text": []}, "its list of captions is empty"),
        ({}, 'it has no field "text"'),
    ],
)
@pytest.mark.parametrize("source", ["table", "webdataset"])
def test_a_null_an_empty_list_and_nothing_are_told_apart(tmp_path, row, detail, source):
    put_files(tmp_path, "a.jpg", "b.jpg")
    rows = [{"image": "a.jpg", **row}, {"image": "b.jpg", "text": "B."}]
    if source == "table":
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        fields = {"table": str(tmp_path / "t.jsonl"), "caption_column": "text"}
        key = "a"
    else:
        put_tar(tmp_path / "t.tar", {"a.jpg": b"", "a.json": json.dumps(rows[0])})
        fields = {"webdataset": str(tmp_path / "t.tar"), "caption_column": "text"}
        key, detail = "t/a", f"in its json, {detail}"
    pairs, rejects = paired(JobConfig(output=str(tmp_path / "out"), **fields))
    assert rejects[key].reason == "unpaired_image"
    assert rejects[key].detail == detail
    assert set(pairs) == ({"b"} if source == "table" else set())


def test_a_sample_of_an_image_alone_is_said_to_have_no_captions(tmp_path):
    put_tar(tmp_path / "t.tar", {"a.jpg": b"", "b.jpg": b"", "b.cls": b"1"})
    config = JobConfig(webdataset=str(tmp_path / "t.tar"), output="o")
    _, rejects = paired(config)
    assert {key: one.detail for key, one in rejects.items()} == {
        "t/a": "its sample has no txt or json",
        "t/b": "its sample has no txt or json",
    }


def test_an_image_that_no_row_names_is_said_so(tmp_path):
    put_files(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.jpg,A.\n")
    _, rejects = paired(JobConfig(images=str(tmp_path), output=f"{tmp_path}/out"))
    assert rejects["b"].detail == "no row names it"


def test_an_image_without_a_file_of_its_name_is_said_so(tmp_path):
    put_files(tmp_path, "a.jpg", "b.txt")
    folder = str(tmp_path)
    _, rejects = paired(
        JobConfig(images=folder, captions=folder, output=f"{folder}/out")
    )
    assert rejects["a"].detail == "no caption of that name"


def put_tar(path: Path, members: dict[str, bytes | str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
