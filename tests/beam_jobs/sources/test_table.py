"""Lists and pairs tables, COCO files and imagefolders without a pipeline."""

import codecs
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, BadInput, Entry, Pair, Reject
from beam_jobs.inputs.captions import clean_captions
from beam_jobs.planning.pair_entries import pair_entries
from beam_jobs.sources.listing_digest import inspected
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles
from reader.contract.errors import BuildError, UsageError

NFC, NFD = "caf\u00e9", "cafe\u0301"


def write(folder: Path, *names: str | bytes) -> None:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.fsencode(name))


def csv_of(*rows: tuple[Any, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def paired(
    config: JobConfig,
) -> tuple[dict[bytes, Pair], dict[bytes, Reject]]:
    found = [one for task in list_tasks(config) for one in list_entries(task, config)]
    files = SourceFiles(config)
    entries = [inspected(one, files) for one in found if isinstance(one, Entry)]
    pairs, rejects = pair_entries(entries, config)
    assert {one.key for one in (*pairs, *rejects)} == {one.key for one in entries}
    assert len(pairs) + len(rejects) == len({one.key for one in entries})
    return {one.key: one for one in pairs}, {one.key: one for one in rejects}


def reasons(rejects: dict[bytes, Reject]) -> dict[bytes, str]:
    return {key: reject.reason for key, reject in rejects.items()}


@pytest.fixture
def table(tmp_path: Path):
    """`table(data, …)` pairs a table in a folder with a.jpg, b.jpg and sub/c.d.jpg."""
    write(tmp_path, "a.jpg", "b.jpg", "sub/c.d.jpg")

    def table(data: bytes, name: str = "t.csv", **more: Any):
        (tmp_path / name).write_bytes(data)
        path = str(tmp_path / name)
        return paired(JobConfig(table=path, output=str(tmp_path / "out"), **more))

    return table


# Rows to pairs.


def test_a_plain_table(table, tmp_path):
    pairs, rejects = table(
        csv_of(("file_name", "text"), ("a.jpg", "A"), ("sub/c.d.jpg", "C"))
    )
    assert not rejects
    assert {key: pair.texts for key, pair in pairs.items()} == {
        b"a": ("A",),
        b"sub/c.d": ("C",),
    }
    assert pairs[b"a"].image.size == os.stat(tmp_path / "a.jpg").st_size


def test_several_rows_and_lists_are_several_captions_in_order(table):
    lines = [("b", "1"), ("a", ["2", "3"]), ("b", []), ("a", None), ("a", "4")]
    data = "\n".join(
        json.dumps({"file_name": f"{name}.jpg", "caption": caption})
        for name, caption in lines
    )
    pairs, rejects = table(data.encode(), "t.jsonl")
    assert not rejects
    assert pairs[b"a"].texts == ("2", "3", "4")
    assert pairs[b"b"].texts == ("1",)


def test_each_wrong_row_is_told(table, tmp_path):
    os.mkdir(tmp_path / "folder.jpg")
    rows = [
        ("a.jpg", "fine"),
        ("", "no image"),
        ("none.jpg", "missing"),
        ("https://x.org/b.jpg", "address"),
        ("../secret.jpg", "outside"),
        ("/etc/passwd", "outside"),
        ("folder.jpg", "a folder"),
        ("a.jpg/b.jpg", "below a file"),
        ("x" * 300 + ".jpg", "too long"),
        ("b.jpg", "fine", "but long"),
        ("b\0.jpg", "zero"),
    ]
    pairs, rejects = table(csv_of(("image", "caption"), *rows))
    assert set(pairs) == {b"a"}
    assert reasons(rejects) == {
        b"t.csv:2": "unpaired_caption",
        b"none": "missing_image",
        b"t.csv:4": "missing_image",
        b"t.csv:5": "outside_root",
        b"t.csv:6": "outside_root",
        b"folder": "not_a_file",
        b"a.jpg/b": "missing_image",
        b"x" * 300: "missing_image",
        b"t.csv:10": "bad_row",
        b"t.csv:11": "missing_image",
    }
    assert "download" in rejects[b"t.csv:4"].detail
    assert b"t.csv" in rejects[b"none"].source


@pytest.mark.parametrize("cell", [3, True, {"path": "a.jpg"}, ["a.jpg"]])
def test_an_image_that_is_no_name(table, cell):
    data = json.dumps({"image": cell, "caption": "x"}).encode()
    _, rejects = table(data, "t.jsonl")
    assert reasons(rejects) == {b"t.jsonl:1": "bad_value"}


@pytest.mark.parametrize("cell", [3, {"en": "x"}, [["x"]], ["x", 4], False])
def test_a_caption_that_is_no_text(table, cell):
    data = json.dumps({"image": "a.jpg", "caption": cell}).encode()
    _, rejects = table(data, "t.jsonl")
    assert reasons(rejects) == {b"a": "bad_value"}


def test_null_is_no_caption_and_empty_is_one(table, tmp_path):
    parquet = io.BytesIO()
    pq.write_table(
        pa.table({"image": ["a.jpg", "b.jpg"], "caption": [None, ""]}), parquet
    )
    pairs, rejects = table(parquet.getvalue(), "t.parquet")
    assert reasons(rejects) == {b"a": "unpaired_image"}
    assert pairs[b"b"].texts == ("",)


def parquet_of(**columns: pa.Array) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def test_an_open_quote_loses_no_key(table):
    data = b'image\tcaption\na.jpg\t"open\nb.jpg\tclosing"\nsub/c.d.jpg\tplain\n'
    pairs, rejects = table(data, "t.tsv")
    assert not rejects
    assert {key: pair.texts for key, pair in pairs.items()} == {
        b"a": ('"open',),
        b"b": ('closing"',),
        b"sub/c.d": ("plain",),
    }
    pairs, rejects = table(data.replace(b"\t", b","))
    assert set(pairs) == {b"b", b"sub/c.d"}
    assert reasons(rejects) == {b"t.csv:1": "bad_row"}
    assert "line 2: a quoted cell continues to line 3" in rejects[b"t.csv:1"].detail
    pairs, rejects = table(data.replace(b"\t", b","), table_quoting="none")
    assert len(pairs) == 3
    assert not rejects


def test_a_delimiter_makes_a_table_of_any_name(table):
    data = b"image| comment\na.jpg| A\nb.jpg | B\n"
    pairs, rejects = table(data, "t.txt", table_delimiter="|", caption_column="comment")
    assert not rejects
    assert [pair.texts for pair in pairs.values()] == [("A",), ("B",)]


def test_a_name_from_windows_is_missing_with_a_hint(table, tmp_path):
    rows = [("image", "caption"), ("sub\\c.d.jpg", "C"), ("odd\\name.jpg", "D")]
    write(tmp_path, "odd\\name.jpg")
    pairs, rejects = table(csv_of(*rows))
    assert set(pairs) == {b"odd\\name"}
    assert reasons(rejects) == {b"sub\\c.d": "missing_image"}
    assert "write / between folders, not \\" in rejects[b"sub\\c.d"].detail


def test_a_name_in_another_encoding_is_missing_with_a_hint(table, tmp_path):
    write(tmp_path, "Schlo\u00df.jpg")
    data = "image,caption\nSchlo\u00df.jpg,Ein Schlo\u00df\n".encode("cp1252")
    pairs, rejects = table(data)
    (reject,) = rejects.values()
    assert not pairs and reject.reason == "missing_image"
    assert "not UTF-8 (byte df)" in reject.detail
    pairs, rejects = table(data, caption_encoding="cp1252")
    assert not rejects
    assert [pair.texts for pair in pairs.values()] == [("Ein Schlo\u00df",)]


def test_a_value_of_parquet_that_cannot_be_written_out_costs_its_row(table):
    far = pa.array([0, 2_932_897], pa.int32()).view(pa.date32())
    data = parquet_of(
        image=pa.array(["a.jpg", "b.jpg"]), caption=pa.array(["A", "B"]), day=far
    )
    pairs, rejects = table(data, "t.parquet", columns=parse_columns("day:str"))
    assert pairs[b"a"].values == ("1970-01-01",)
    assert reasons(rejects) == {b"b": "bad_value"}
    assert "column day: <date 2932897 days" in rejects[b"b"].detail


def test_a_caption_of_parquet_that_is_not_utf_8_costs_its_row(table):
    texts = pa.array([b"caf\xe9", b"fine"]).view(pa.string())
    data = parquet_of(image=pa.array(["a.jpg", "b.jpg"]), caption=texts)
    pairs, rejects = table(data, "t.parquet")
    assert not rejects
    assert clean_captions(pairs[b"b"].texts or ()).texts == ("fine",)
    with pytest.raises(BadInput, match="undecodable_caption"):
        clean_captions(pairs[b"a"].texts or ())


NAMES = [
    b"with space",
    b" leading and trailing ",
    b"quote'\"quote",
    b"line\nbreak",
    b"tab\tand\rreturn",
    b"back\\slash",
    b"$(rm -rf) `x` %00 %s {} *?",
    b"--output=x",
    b"=1+1",
    "emoji 👩\u200d👩\u200d👧".encode(),
    "right to left עברית".encode(),
    b"not \xff\xfe UTF-8",
    b"\xed\xa0\x80 surrogate",
    b"\x1b[2J\x07 control",
    b"a.b.c",
    b"..twice",
    b".hidden",
    b"x" * 251,
    "ü".encode() * 125,
    b"line\nbreak \xff/x",
]


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name_are_found(table, tmp_path, name):
    write(tmp_path, name + b".jpg")
    text = name.decode("utf-8", "surrogateescape")
    pairs, rejects = table(csv_of(("image", "caption"), (text + ".jpg", text)))
    assert not rejects
    (pair,) = pairs.values()
    assert pair.key == name
    config = JobConfig(table=str(tmp_path / "t.csv"), output="o")
    assert SourceFiles(config).image(pair) == name + b".jpg"


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_names_are_found_in_either_form_and_make_one_key(
    table, tmp_path, on_disk, in_table
):
    write(tmp_path, f"{on_disk}.jpg")
    rows = [(f"{in_table}.jpg", "one"), (f"{NFC}.jpg", "two")]
    pairs, rejects = table(csv_of(("image", "caption"), *rows))
    assert not rejects
    assert pairs[NFC.encode()].texts == ("one", "two")
    assert pairs[NFC.encode()].image.path == f"{on_disk}.jpg".encode()


def test_other_ways_to_write_a_name_are_the_same_image(table, tmp_path):
    names = ["a.jpg", "./a.jpg", "sub/../a.jpg", f"{tmp_path}/a.jpg", ".//a.jpg"]
    rows = [(name, str(number)) for number, name in enumerate(names)]
    pairs, rejects = table(csv_of(("image", "caption"), *rows))
    assert not rejects
    assert pairs[b"a"].texts == tuple("01234")


# Columns, keys and splits.


HEAD = ("image", "caption", "id", "part", "score")
MORE: dict[str, Any] = {
    "key_column": "id",
    "split_column": "part",
    "columns": parse_columns("score:float"),
}


def test_keys_splits_and_values_come_from_columns(table):
    rows = [
        ("a.jpg", "1", "x", "train", "0.5"),
        ("a.jpg", "2", "x", "train", "0.50"),
        ("b.jpg", "3", "y/é", "test", ""),
    ]
    pairs, rejects = table(csv_of(HEAD, *rows), **MORE)
    assert not rejects
    assert pairs[b"x"].texts == ("1", "2")
    assert (pairs[b"x"].split, pairs[b"x"].values) == ("train", (0.5,))
    assert pairs["y/é".encode()].split == "test"
    assert str(pairs["y/é".encode()].values) == "(nan,)"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (("b.jpg", "2", "x", "train", "1"), "ambiguous_key"),
        (("a.jpg", "2", "x", "test", "1"), "conflicting_rows"),
        (("a.jpg", "2", "x", "train", "2"), "conflicting_rows"),
        (("a.jpg", "2", "x", "train", ""), "conflicting_rows"),
        (("a.jpg", "2", "x", "Train", "1"), "bad_value"),
        (("a.jpg", "2", "x", "", "1"), "bad_value"),
        (("a.jpg", "2", "x", "all", "1"), "bad_value"),
        (("a.jpg", "2", "x", "train", "high"), "bad_value"),
        (("none.jpg", "2", "x", "train", "1"), "missing_image"),
        (("../a.jpg", "2", "x", "train", "1"), "outside_root"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_one_key_that_differ_cost_the_key(table, second, reason, turned):
    rows = [("a.jpg", "1", "x", "train", "1"), second]
    pairs, rejects = table(csv_of(HEAD, *(rows[::-1] if turned else rows)), **MORE)
    assert not pairs
    assert reasons(rejects) == {b"x": reason}


@pytest.mark.parametrize("key", [None, "", True, 1.5, ["x"], "\ud800"])
def test_a_key_that_is_none(table, key):
    row = {"image": "a.jpg", "caption": "c", "id": key}
    data = json.dumps(row).encode()
    _, rejects = table(data, "t.jsonl", key_column="id")
    assert set(reasons(rejects).values()) == {"bad_value"}


# Roots.


def test_images_may_lie_elsewhere(tmp_path):
    write(tmp_path, "i/a.jpg", "more/b.jpg", "t/c.jpg", "secret/s.jpg")
    os.symlink(tmp_path / "secret", tmp_path / "i" / "link")
    names = ["a.jpg", "../more/b.jpg", f"{tmp_path}/more/b2/../b.jpg", "../t/c.jpg"]
    names += [f"{tmp_path}/secret/s.jpg", "link/s.jpg", "../i/a.jpg"]
    rows = [(name, "x") for name in names]
    (tmp_path / "t" / "t.csv").write_bytes(csv_of(("image", "caption"), *rows))
    config = JobConfig(
        table=f"{tmp_path}/t/t.csv",
        images=f"{tmp_path}/i",
        allow_roots=(f"{tmp_path}/more",),
        output=f"{tmp_path}/out",
    )
    pairs, rejects = paired(config)
    # Links in a root are followed, as in source `folders`.
    assert set(pairs) == {b"a", b"b", b"link/s"}
    assert reasons(rejects) == {
        b"t.csv:4": "outside_root",
        b"t.csv:5": "outside_root",
    }


# Columns of tables.


@pytest.mark.parametrize(
    ("heading", "more", "message"),
    [
        (
            ("x", "caption"),
            {},
            "no column is named .* or path: pass --image_column=NAME",
        ),
        (("image", "path", "caption"), {}, r"several columns match \(image, path\)"),
        (("image", "x"), {}, "pass --caption_column=NAME, one of image, x"),
        (("image", "caption"), {"image_column": "x"}, 'no column "x" among image'),
        (("image", "caption"), {"key_column": "k"}, 'no column "k"'),
        (("image", "caption"), {"columns": parse_columns("s:int")}, 'no column "s"'),
    ],
)
def test_columns_that_are_not_there(table, heading, more, message):
    with pytest.raises(UsageError, match=message):
        table(csv_of(heading), **more)


def test_several_tables_by_a_glob(tmp_path):
    for name in ("x", "y"):
        write(tmp_path, f"{name}/a.jpg")
        data = csv_of(("image", "caption"), ("a.jpg", name), ("", name))
        (tmp_path / name / "t.csv").write_bytes(data)
    pairs, rejects = paired(JobConfig(table=f"{tmp_path}/*/t.csv", output="o"))
    assert {key: pair.texts for key, pair in pairs.items()} == {
        b"x/a": ("x",),
        b"y/a": ("y",),
    }
    assert set(rejects) == {b"x/t.csv:2", b"y/t.csv:2"}


# COCO.


@pytest.fixture
def coco(tmp_path: Path):
    write(tmp_path, "i/a.jpg", "i/sub/b.jpg")

    def coco(data: Any, **more: Any):
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        (tmp_path / "c.json").write_bytes(raw)
        images = str(tmp_path / "i")
        path = str(tmp_path / "c.json")
        return paired(JobConfig(coco=path, images=images, output="o", **more))

    return coco


def test_a_byte_order_mark_before_coco_is_passed_over(coco):
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "rot"}],
    }
    pairs, rejects = coco(codecs.BOM_UTF8 + json.dumps(data).encode())
    assert not rejects
    assert pairs[b"a"].texts == ("rot",)


IMAGES = [{"id": 1, "file_name": "a.jpg"}, {"id": "two", "file_name": "sub/b.jpg"}]


@pytest.mark.parametrize("first", ["images", "annotations"])
def test_captions_of_coco_are_in_the_order_of_their_ids(coco, first):
    captions = [(9, 1, "c"), (-1, 1, "a"), (3, "two", "x"), (4, 1, "b")]
    annotations = [
        {"id": id_, "image_id": image, "caption": text} for id_, image, text in captions
    ]
    parts = {"images": IMAGES, "annotations": annotations, "info": {"images": [1]}}
    data = {first: parts.pop(first)} | parts
    pairs, rejects = coco(data)
    assert not rejects
    assert pairs[b"a"].texts == ("a", "b", "c")
    assert pairs[b"sub/b"].texts == ("x",)


def test_whatever_is_wrong_in_coco_is_told(coco):
    images = [
        *IMAGES,
        {"id": 3, "file_name": "gone.jpg"},
        {"id": 4, "file_name": "../../x.jpg"},
        {"id": 1, "file_name": "other.jpg"},
        {"file_name": "a.jpg"},
        7,
    ]
    annotations = [
        {"id": 1, "image_id": 1, "caption": "fine"},
        {"id": 2, "image_id": 99, "caption": "of no image"},
        {"id": 3, "image_id": 1},
        {"id": 4, "image_id": 3, "caption": "gone"},
        None,
    ]
    pairs, rejects = coco({"images": images, "annotations": annotations})
    assert set(pairs) == {b"a"}
    assert reasons(rejects) == {
        b"sub/b": "unpaired_image",
        b"gone": "missing_image",
        b"c.json:images:4": "outside_root",
        b"other": "conflicting_rows",
        b"c.json:images:6": "bad_row",
        b"c.json:images:7": "bad_row",
        b"c.json:annotations:2": "unpaired_caption",
        b"c.json:annotations:3": "bad_row",
        b"c.json:annotations:5": "bad_row",
    }


def test_equal_ids_of_annotations_leave_no_room_for_chance(coco):
    annotations = [{"id": 5, "image_id": 1, "caption": text} for text in "cab"]
    one, _ = coco({"images": IMAGES, "annotations": annotations})
    other, _ = coco({"images": IMAGES, "annotations": annotations[::-1]})
    assert one[b"a"].texts == other[b"a"].texts


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"{", b'{"images": [}', b"\xff\xfe{}", b'{"images": [1', b"[" * 9999],
        b'{"images": [{"id": "\xff"}]}',
    ],
)
def test_coco_that_is_no_json_fails_with_its_name(coco, data):
    # In one line, and not as a repr of bytes.
    with pytest.raises(BuildError, match=r"c\.json is not valid JSON: [^b\n][^'\n]*$"):
        coco(data)


# imagefolder.


def imagefolder(folder: Path, **more: Any):
    return paired(JobConfig(images=str(folder), output=f"{folder}-out", **more))


@pytest.mark.parametrize("place", ["", "train/"])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_is_found_by_itself(tmp_path, place, name):
    write(tmp_path, f"{place}a.jpg", f"{place}deep/b.jpg", "alone.jpg", "x.txt")
    rows = {"file_name": ["a.jpg", "deep/b.jpg"], "text": ["A", "B"]}
    path = tmp_path / place / name
    if name.endswith("parquet"):
        pq.write_table(pa.table(rows), path)
    elif name.endswith("csv"):
        path.write_bytes(csv_of(tuple(rows), *zip(*rows.values(), strict=True)))
    else:
        lines = pa.table(rows).to_pylist()
        path.write_text("\n".join(map(json.dumps, lines)))
    pairs, rejects = imagefolder(tmp_path)
    expected = {f"{place}a": ("A",), f"{place}deep/b": ("B",)}
    assert {key.decode(): pair.texts for key, pair in pairs.items()} == expected
    assert reasons(rejects) == {b"alone": "unpaired_image"}


def test_the_table_itself_is_not_among_what_is_ignored(tmp_path):
    write(tmp_path, "a.jpg", "b.txt")
    (tmp_path / "metadata.csv").write_bytes(
        csv_of(("file_name", "text"), ("a.jpg", "A"))
    )
    config = JobConfig(images=str(tmp_path), output=str(tmp_path / "out"))
    found = [one for task in list_tasks(config) for one in list_entries(task, config)]
    assert [one.path for one in found if isinstance(one, Aside)] == [b"b.txt"]


def test_hidden_folders_and_links_to_nowhere_hold_no_tables(tmp_path):
    write(tmp_path, "a.jpg", ".cache/metadata.csv")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("nowhere", tmp_path / "gone")
    with pytest.raises(UsageError, match="no captions: pass --captions"):
        imagefolder(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(
        csv_of(("file_name", "text"), ("a.jpg", "A"))
    )
    pairs, _ = imagefolder(tmp_path)
    assert set(pairs) == {b"a"}


def test_two_tables_in_one_folder_are_wrong_usage(tmp_path):
    write(tmp_path, "metadata.csv", "metadata.jsonl")
    with pytest.raises(UsageError, match="several tables in one folder: pass one"):
        imagefolder(tmp_path)


def test_keys_of_a_column_need_a_named_table(tmp_path):
    data = csv_of(("file_name", "text", "id"), ("a.jpg", "A", "1"))
    (tmp_path / "metadata.csv").write_bytes(data)
    with pytest.raises(UsageError, match=r"pass --table=.*metadata\.csv"):
        imagefolder(tmp_path, key_column="id")


# Wrong usage, reported before the job starts.


@pytest.mark.parametrize(
    "flags",
    [
        {"columns": parse_columns("nope:float")},
        {"key_column": "nope"},
        {"split_column": "nope"},
    ],
)
def test_a_field_that_no_image_of_coco_has_is_wrong_usage(coco, flags):
    data = {"images": [{"id": 1, "file_name": "a.jpg", "url": "u"}], "annotations": []}
    with pytest.raises(UsageError, match='no image has a field "nope", only file_name'):
        coco(data, **flags)


def test_the_caption_column_of_coco_is_not_to_choose():
    config = JobConfig(coco="c", images="i", output="o", caption_column="text")
    with pytest.raises(UsageError, match="COCO captions are always in caption"):
        list_tasks(config)


def test_a_null_caption_is_told_from_a_missing_one(table):
    pairs, rejects = table(b'{"image": "a.jpg", "caption": null}', "t.jsonl")
    assert not pairs
    assert rejects[b"a"].reason == "unpaired_image"
    assert rejects[b"a"].detail == "its caption is null"
